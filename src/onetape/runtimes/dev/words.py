"""Calls, events and states as lines for a person."""

from datetime import UTC, datetime
from typing import Any

from onetape.records import UNSET
from onetape.runtimes.dev.watch import Call, Values

BLANK = (UNSET, None)


def place(call: Call) -> str:
    """'offset 12.3: n5 Jumps.on_trade, key 7'"""
    at = f"{call.offset}.{call.index}" if call.index >= 0 else str(call.offset)
    key = "" if call.key is None else f", key {call.key}"
    return f"offset {at}: n{call.node} {call.operator}.{call.function}{key}"


def fields(values: Values, *, all_fields: bool = False) -> str:
    """'a=1 b=2'; without what is unknown or empty, unless all fields are asked for."""
    kept = {n: v for n, v in values.items() if all_fields or not _is_empty(v)}
    return " ".join(f"{name}={_word(value)}" for name, value in kept.items()) or "nothing"


def changes(before: Values, after: Values) -> str:
    """'a 1 -> 2, b[3] 0 -> 9': the fields that are not what they were."""
    found = []
    for name, was in before.items():
        now = after[name]
        if isinstance(was, list):
            cells = zip(was, now, strict=True)
            found += [f"{name}[{i}] {a} -> {b}" for i, (a, b) in enumerate(cells) if a != b]
        elif now != was:
            found.append(f"{name} {_word(was)} -> {_word(now)}")
    return ", ".join(found) or "nothing"


def time_of(ts_ns: int) -> str:
    """'2026-01-05 14:30:00.100000000'; what is no time of a calendar as the number it is."""
    if not 0 <= ts_ns < 1 << 62:
        return _word(ts_ns)
    seconds, rest_ns = divmod(ts_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest_ns:09d}"


def call_lines(call: Call, margin: str = "  ") -> list[str]:
    """What came, what changed, what was made."""
    lines = [f"event   {fields(call.event)}" if call.event else f"timer   due {call.time_ns}"]
    if call.before is not None and call.after is not None:
        lines.append(f"changed {changes(call.before, call.after)}")
    lines += [f"row     {fields(row)}" for row in call.rows]
    return [margin + line for line in lines]


def _is_empty(value: Any) -> bool:
    return value in BLANK or (isinstance(value, list) and not any(value))


def _word(value: Any) -> str:
    return "unset" if isinstance(value, int) and value == UNSET else str(value)
