"""Random patterns, written as a person writes them: text that is compiled, so it can be read."""

import linecache

import onetape as ot
from onetape.records import DeclarationError

NAMES = "abcd"
TIMES = [1, 1, 1, 2, (1, 2), (1, 3), (2, 3), (0, 1), (0, 2), (1, None), (2, None), (0, None)]


@ot.record
class Ping:
    ts_event_ns: ot.i64
    number: ot.i64
    value: ot.i64
    key: ot.u32


@ot.record
class Found:
    ts_event_ns: ot.i64
    start_ns: ot.i64
    key: ot.u32
    a_count: ot.i64
    a_last: ot.i64
    b_count: ot.i64
    b_last: ot.i64
    b_sum: ot.i64
    c_count: ot.i64
    c_last: ot.i64
    d_count: ot.i64
    d_last: ot.i64


def pattern_text(rng):
    """The text of a pattern; it may be one that is refused."""
    steps = rng.choice([1, 2, 2, 3, 3, 3, 4])
    times = [rng.choice(TIMES) for _ in range(steps)]
    many = [t != 1 and t != (0, 1) for t in times]
    head = {
        "within": rng.choice([None, 6, 15, 40]),
        "at_most": rng.choice([1, 2, 3, 5, 64, 64]),
        "when_full": rng.choice(["drop_oldest", "drop_newest"]),
        "skip": rng.choice(
            ["none", "none", "to_next", "past_last", f"to_first {rng.choice(NAMES[:steps])}",
             f"to_last {rng.choice(NAMES[:steps])}"]
        ),
    }  # fmt: skip
    lines = [f"(Pattern(by='key', capacity=64, **{head!r})"]
    only_strict = rng.random() < 0.3
    for k, name in enumerate(NAMES[:steps]):
        how = "next" if only_strict else rng.choice(["then", "then", "next", "then_any"])
        options = "" if times[k] == 1 else f", times={times[k]!r}, greedy={rng.random() < 0.5}"
        if how != "next" or k == 0:
            options += f", in_a_row={only_strict or rng.random() < 0.2}"
        how = "begin" if k == 0 else how
        lines.append(f".{how}({name!r}, {condition(rng, k, many, many[k])}{options})")
        if rng.random() < 0.2:
            lines.append(f".without('x{k}', {condition(rng, k + 1, many, False)})")
    told = []
    for k, name in enumerate(NAMES):
        if k >= steps:
            told += ["0", "0"] + ["0"] * (name == "b")
            continue
        told += [f"m.{name}.count", f"m.{name}.{'last.' * many[k]}number"]
        if name == "b":
            told.append("m.b.sum.value" if many[k] else "m.b.value")
    key = "m.a.first.key" if many[0] else "m.a.key"
    lines.append(f".emit(lambda m: Found(m.end_ns, m.start_ns, {key}, {', '.join(told)})))")
    return "\n".join(lines) + "\n"


def condition(rng, k, many, own):
    """Of step k, which knows the steps before it, and itself if it may take several."""
    asked = []
    for j in range(k):
        at = f"m.{NAMES[j]}"
        field = f"{rng.choice(['first', 'last', 'min', 'max', 'sum'])}." * many[j] + "value"
        asked += [f"e.value > {at}.{field}", f"e.value != {at}.{field}"]
        asked += [f"{at}.count < 2"] * many[j]
    if own:
        at = f"m.{NAMES[k]}"
        asked += [f"({at}.count == 0 or e.value >= {at}.last.value)", f"{at}.sum.value < 9"]
    plain = [
        f"e.value > {rng.randrange(5)}",
        f"e.value < {rng.randrange(3, 8)}",
        "e.value % 2 == 0",
    ]
    if not asked or rng.random() < 0.6:
        return f"lambda e: {rng.choice(plain)}"
    return f"lambda e, m: {rng.choice(asked)} {rng.choice(['and', 'or'])} {rng.choice(plain)}"


def made(text, **names):
    """The pattern of a text; None where it is refused."""
    path = f"<pattern {hash(text)}>.py"
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    try:
        return eval(compile(text, path, "eval"), {"Pattern": ot.Pattern, "Found": Found} | names)
    except DeclarationError:
        return None


def random_pattern(rng):
    """(pattern, its text)."""
    while True:
        text = pattern_text(rng)
        pattern = made(text)
        if pattern is not None:
            return pattern, text


def random_pings(rng, count, keys=1, disorder=False):
    """Events in order of time, or nearly; some at the same time."""
    now_ns, pings = 10, []
    for number in range(count):
        now_ns += rng.choice([0, 1, 1, 2, 5])
        ts_ns = max(now_ns - rng.choice([0, 0, 0, 2, 9]) * disorder, 0)
        pings.append(Ping(ts_ns, number, rng.randrange(9), rng.randrange(keys)))
    return pings
