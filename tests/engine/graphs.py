"""Random pipelines from the parts, random input for them, and random ways to cut the input."""

import random

from tests.engine.parts import (
    Chain,
    Largest,
    Note,
    Pair,
    Sleeper,
    Split,
    Summary,
    Tick,
    Trail,
    closed,
    every_other,
    noted,
    pairs,
    quiet,
    rises,
    scaled,
    some,
    ticked,
    told,
)
from tests.engine.running import Clock, End, Rows

import onetape as ot
from onetape import c
from onetape.engine import planner, window
from onetape.engine.batches import batches

KEYS = {"keys": 1 << 10}
ROWS = 1 << 13  # that may wait, or be kept
ROWS_MOST = 64  # that one event may cause at one output


def random_pipeline(seed):
    """A pipeline of 2 or 3 sources and 4 to 9 nodes; the same for the same seed."""
    rng, keeping = random.Random(seed), random.Random(seed + 1021)
    while True:
        pipeline = _pipeline(rng, keeping)
        if max(planner.plan(pipeline).rows_most) <= ROWS_MOST:
            return pipeline


def _pipeline(rng, keeping):
    records = [Tick, Note, rng.choice([Tick, Note])][: rng.choice([2, 2, 3])]
    streams = {Tick: [], Note: [], Summary: []}
    for name, record in zip("abc", records):
        lateness, idle = rng.choice([0, 0, 5, 20]), rng.choice([10, 60])
        streams[record].append(ot.source(record, name=name, lateness=lateness, idle=idle))
    made = []  # one list of streams a node
    for _ in range(rng.randrange(4, 10)):
        outputs = _node(rng, keeping, streams)
        made.append(outputs)
        for stream in outputs:
            streams.setdefault(stream.of, []).append(stream)
    # Every node is read by an output, or by a node behind it; some outputs have two names.
    chosen = [rng.choice(outputs) for outputs in made]
    chosen += rng.sample([stream for outputs in made for stream in outputs], 2)
    chosen.append(rng.choice(streams[Tick] + streams[Note]))
    rng.shuffle(chosen)
    return ot.Pipeline(**{f"out{n}": stream for n, stream in enumerate(chosen)})


def _kept(keeping, has_ttl):
    """Half of all nodes keep keys for good, and have room for all."""
    ttl = {"ttl": keeping.choice([8, 30])} if has_ttl and keeping.random() < 0.5 else {}
    if keeping.random() < 0.7:
        return {"capacity": KEYS} | ttl
    when_full = keeping.choice(["drop_new", "evict_oldest", "evict_oldest"])
    return {"capacity": {"keys": keeping.choice([1, 2, 3])}, "when_full": when_full} | ttl


def _node(rng, keeping, streams):
    def a(record):
        return rng.choice(streams[record][-4:])  # rather long chains than wide fans

    def an_order():
        return rng.choice(["arrival", "arrival", "event_time"])

    every = rng.choice([4, 10])
    width, late = every * rng.choice([1, 1, 2, 5]), rng.choice([3, 25])
    kept, windowed = _kept(keeping, True), _kept(keeping, False)
    of = {"key": "key"} | windowed | {"capacity": windowed["capacity"]["keys"]}
    batched = {"key": "key"} | kept | {"capacity": kept["capacity"]["keys"]}
    kinds = [
        lambda: [scaled(a(Tick), by=rng.choice([-1, 3]), plus=rng.randrange(3))],
        lambda: [some(a(Tick), of=rng.choice([2, 3]))],
        lambda: [noted(a(Tick), shift=rng.choice([0, 0, 15]))],
        lambda: [ticked(a(Note), most=rng.choice([1, 3]))],
        lambda: [every_other(a(Tick), start=rng.randrange(2), **kept)],
        lambda: [(split := Split(a(Tick), at=rng.choice([2, 5]))).low, split.notes],
        lambda: [Sleeper(a(Tick), nap=rng.choice([3, 10]), again=rng.choice([1, 9]), **kept)],
        lambda: [Pair(a(Tick), a(Note), wait=rng.choice([2, 12]), **kept)],
        lambda: [ot.merge(*(a(Tick) for _ in range(rng.choice([2, 3]))))],
        lambda: [(w := window(a(Tick), Chain, width=width, every=every, **of)), w.late],
        lambda: [(w := window(a(Tick), Chain, width=every, **of)), w.late],
        lambda: [(w := window(a(Note), Largest, width=width, every=every, **of)), w.late],
        lambda: [(w := ot.session(a(Tick), Chain, gap=every, **of)), w.late],
        lambda: [batches(a(Note), Largest, rows=3, **batched)],
        lambda: [(m := ot.merge(a(Tick), a(Tick), order="event_time")), m.late],
        lambda: [Pair(a(Tick), a(Note), order="event_time", wait=rng.choice([2, 12]))],
        lambda: _near(rng, a(Tick), a(rng.choice([Tick, Note])), an_order()),
        lambda: _near(rng, a(Note), a(rng.choice([Tick, Note])), an_order()),
        lambda: _looked_up(rng, a(Tick), a(rng.choice([Tick, Note])), an_order()),
        lambda: [a(Tick) >> rng.choice([rises, pairs, quiet])],
        lambda: [(w := window(a(Tick), Trail, width=width, every=every, **of)), w.late],
        lambda: [
            (w := window(a(Tick), Chain, width=2 * every, early=2, lateness=late, **of)),
            w.late,
        ],
        lambda: [
            (w := window(a(Tick), Chain, width=width, every=every, lateness=late, **of)),
            w.late,
        ],
        lambda: [(w := window(a(Tick), Chain, width=every, emit="each", lateness=late)), w.late],
        lambda: [ot.session(a(Tick), Trail, gap=every, emit="each")],
        lambda: [batches(a(Tick), Chain, rows=4, emit="each", **batched)],
    ]
    if streams[Summary]:
        kinds.append(lambda: [closed(a(Summary), at_least=rng.choice([1, 2]))])
    return rng.choice(kinds)()


def _near(rng, left, right, order):
    """An interval join, its rows as ticks too, and what came too late for it."""
    least = rng.choice([-6, -2, 0, 1, -9])
    joined = left.interval_join(
        right,
        by="key",
        within=(least, least + rng.choice([0, 3, 8])),
        how=rng.choice(["inner", "left", "anti"]),
        order=order,
        at_most=16,
        capacity=1 << 13,
    )
    return [joined, told(joined), joined.late]


def _looked_up(rng, left, right, order):
    """A lookup in a table that changes, its rows as ticks too, and rows without an entry."""
    found = left.lookup(
        ot.table(right, by="key", deleted=c.value % 4 == 0, capacity=1 << 10),
        how=rng.choice(["inner", "left"]),
        as_of=rng.choice(["arrival", "event_time"]),
        versions=rng.choice([1, 3]),
        order=order,
    )
    return [found, told(found), found.unknown]


def random_steps(seed, pipeline, count):
    """`count` events, one a step, with ticks between them and an end of every source."""
    rng = random.Random(seed)
    sources = list(enumerate(pipeline.sources))
    now_ns, steps = rng.randrange(50), []
    for _ in range(count):
        now_ns += rng.choice([0, 0, 1, 1, 2, 6, 40]) if rng.random() < 0.9 else 0
        number, source = rng.choice(sources)
        ts_ns = max(now_ns + rng.choice([0, 0, 0, 3, -3, -9, -30, 25]), 0)
        key = rng.choice([0, 1, 2, 3, 70_000])
        if source.of is Tick:
            event = Tick(ts_ns, rng.choice([key, -1, 2**40]), rng.randrange(-3, 13))
        else:
            event = Note(ts_ns, rng.randrange(-3, 13), key, rng.randrange(256))
        steps.append(Rows(number, [event]))
        if rng.random() < 0.05:
            steps.append(Clock(rng.choice(sources)[0], now_ns + rng.randrange(120)))
        if rng.random() < 0.2 / count:
            steps.append(End(number))
    steps += [End(number) for number, _ in sources]
    return steps


def cut(rng, steps, together):
    """(steps with neighbours of one source in one frame, begins of the runs they are fed in)."""
    frames = [steps[0]]
    for step in steps[1:]:
        last = frames[-1]
        same = isinstance(step, Rows) and isinstance(last, Rows) and step.source == last.source
        if same and rng.random() < together:
            frames[-1] = Rows(last.source, last.rows + step.rows)
        else:
            frames.append(step)
    feeds = [n for n in range(1, len(frames)) if rng.random() < rng.choice([0, 0.1, 0.5])]
    return frames, feeds


def smallest_ring(pipeline):
    """Rows of the smallest ring an output may have: it is full all the time."""
    most = max(planner.plan(pipeline).rows_most)
    return 1 << (most - 1).bit_length()
