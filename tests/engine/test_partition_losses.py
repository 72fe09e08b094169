"""After a loss in a feed, what a second stage makes says STALE just where one part says it."""

import random
import struct

import pytest
from tests.engine.running import DATA, END, frame, make, run_engine, tuples
from tests.engine.test_feed_gaps import MS, packet, tick
from tests.engine.test_partition import buffers

import onetape as ot
from onetape import c
from onetape.compiled import mode
from onetape.records.market import STALE, Trade
from onetape.runtimes import partitions
from onetape.runtimes.partitions import Parts


@ot.operator(key="qty_lots")
class Echo:
    """Each trade once more, a while after it; a late one at once."""

    wake_ns: ot.i64 = ot.UNSET
    instrument_id: ot.i64 = 0

    def on_trade(self, t: Trade) -> None:
        self.wake_ns = t.ts_event_ns + 30_000_000
        self.instrument_id = t.instrument_id

    def on_timer(self, now_ns: int) -> Trade | None:
        return Trade(now_ns, 10_000, 1, 0, 0, 0, self.instrument_id, 0, 0, 0, 0, 0)


def trade(n, instrument, lots, ts_ns):
    stock = struct.pack(">8sIQ", b"S%06d " % instrument, 10_000, n)
    head = (b"P", instrument, 0, ts_ns.to_bytes(6, "big"), 0, b"B", lots)
    return struct.pack(">cHH6sQcI", *head) + stock


def pipeline(two):
    first = ot.source("itch", name="x", patience="20ms", idle="50ms")
    other = ot.source("itch", name="y", patience="20ms", idle="50ms") if two else first
    trades, more = first.trades(), other.trades()
    both = ot.merge(trades, more) if two else trades
    echoes = Echo(trades, capacity={"keys": 64})
    return ot.Pipeline(
        own=trades.window("40ms", by=c.instrument_id).agg(n=ot.count()),
        trades=trades,
        sized=both.window("40ms", by=c.qty_lots).agg(n=ot.count()),
        more=more.window("40ms", by=c.qty_lots).agg(n=ot.count()),
        echoes=echoes,
        again=echoes.window("15ms", lateness="40ms").agg(n=ot.count()),
        gaps=first.gaps(),
    )


def pieces_of(rng, sources, lossy):
    """Packets of trades; where `lossy`, some are gone, else one message is not understood."""
    made, next_one, now_ms = [], [1] * sources, 1
    holes = [rng.randrange(10, 60) for _ in range(sources)]
    for n in range(70):
        which, count = rng.randrange(sources), rng.randrange(1, 4)
        now_ms += rng.choice([0, 1, 5, 30])
        event_ns = [(now_ms - rng.choice([0, 0, 0, 25])) * MS for _ in range(count)]
        bodies = [
            trade(n, rng.randrange(1, 9), rng.randrange(1, 4), max(ns, 1) + rng.randrange(9))
            for ns in event_ns
        ]
        first, next_one[which] = next_one[which], next_one[which] + count
        is_hole = n >= holes[which]
        holes[which] += 1000 * is_hole
        if lossy:
            if not is_hole:
                made.append((which, packet(first, bodies, now_ms)))
        else:
            if is_hole:
                bodies[0] = b"~" + bodies[0][1:]
            data = b"".join(struct.pack(">H", len(body)) + body for body in bodies)
            made.append((which, frame(DATA, 0, data, 0, now_ms * MS)))
        if rng.random() < 0.2:
            made.append((rng.randrange(sources), tick(now_ms)))
    made += [(which, frame(END, 0, b"")) for which in range(sources)]
    return [_of(which, piece) for which, piece in made]


def _of(which, piece):
    """The frame, of that source."""
    header = bytearray(piece)
    header[24] = which
    return bytes(header)


def check(seed):
    rng = random.Random(seed)
    lossy, two = seed % 2 == 0, seed % 3 == 0
    framing = dict.fromkeys("xy" if two else "x", "moldudp64") if lossy else {}
    graph = pipeline(two)
    pieces = pieces_of(rng, 1 + two, lossy)
    whole = run_engine(make(graph, framing=framing), pieces)
    for count in (1, 2, 3):
        feeds = sorted(rng.sample(range(1, len(pieces)), 6))
        rows = {name: [] for name in graph.outputs}

        def take(name, made, _, rows=rows):
            rows[name] += tuples(made)

        result = partitions.run(Parts(graph, count, framing=framing), buffers(pieces, feeds), take)
        assert rows == whole.rows
        assert result.digests == whole.digests
    flags = list(graph.outputs["sized"].of.fields).index("flags")
    return len({row[flags] & STALE for row in whole.rows["sized"]}) > 1


@pytest.mark.parametrize("seed", range(8))
def test_a_second_stage_says_stale_where_one_part_does(seed):
    with mode.running("interpreted"):
        assert check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 300))
def test_a_second_stage_says_stale_where_one_part_does_more(seed):
    with mode.running("interpreted"):
        check(seed)
