"""A feed in a pipeline: the order of arrival, what is missing, and what is made after a loss."""

import struct

import pytest
from tests.engine.running import DATA, END, TICK, frame, make, run_engine

import onetape as ot
from onetape import market as mk
from onetape.compiled import mode
from onetape.market.feed import source
from onetape.records.market import GAP_FILLED, GAP_LOST, GAP_OPENED, STALE, TopOfBook

MS = 1_000_000


def add(order, ts_ns, price=10_000, side=b"B"):
    return struct.pack(
        ">cHH6sQcI8sI", b"A", 7, 0, ts_ns.to_bytes(6, "big"), order, side, 100, b"AAPL    ", price
    )


def trade(order, ts_ns):
    stock = struct.pack(">8sIQ", b"AAPL    ", 10_000, order)
    return struct.pack(">cHH6sQcI", b"P", 7, 0, ts_ns.to_bytes(6, "big"), 0, b"B", 100) + stock


def packet(sequence, bodies, recv_ms, line=0, offset=0):
    payload = struct.pack(">10sQH", b"SESSION001", sequence, len(bodies))
    payload += b"".join(struct.pack(">H", len(body)) + body for body in bodies)
    return frame(DATA, line << 8, payload, offset, recv_ms * MS)


def tick(recv_ms):
    return frame(TICK, 0, b"", 0, recv_ms * MS)


def pipeline():
    feed = source("itch", patience="100ms", idle="1s")
    return ot.Pipeline(
        top=feed.top_of_book(),
        vwap=mk.vwap(feed.trades(), width="1s"),
        event=feed.events(),
        gap=feed.gaps(),
    )


def go(pieces, end=True):
    engine = make(PIPELINE, framing={"itch": "moldudp64"})
    return run_engine(engine, [*pieces, frame(END, 0, b"")] if end else pieces)


PIPELINE = pipeline()


def gaps(ran):
    return [(g[-2], g[2], g[3]) for g in ran.rows["gap"]]


def orders(ran):
    return [e[2] for e in ran.rows["event"]]


def test_what_comes_late_by_another_line_changes_no_output():
    clean = [packet(n, [add(n, n * MS, 9_000 + n)], n) for n in range(1, 6)]
    holed = [clean[0], clean[2], packet(2, [add(2, 2 * MS, 9_002)], 9, line=2), *clean[3:]]

    plain, repaired = go(clean), go(holed)

    assert repaired.rows["top"] == plain.rows["top"]
    assert repaired.digests["top"] == plain.digests["top"]
    assert gaps(plain) == []
    assert gaps(repaired) == [(GAP_OPENED, 2, 1), (GAP_FILLED, 2, 2)]


def test_after_a_loss_everything_of_the_feed_says_stale():
    bodies = [add(n, n * 400 * MS, 9_000 + n) for n in range(1, 6)]
    pieces = [packet(1, [bodies[0], trade(1, 500 * MS)], 1), packet(4, [bodies[3]], 5)]

    ran = go([*pieces, packet(5, [bodies[4], trade(2, 2500 * MS)], 106)])

    assert gaps(ran) == [(GAP_OPENED, 3, 1), (GAP_LOST, 3, 1)]
    assert [TopOfBook(*row).flags for row in ran.rows["top"]] == [0, STALE, STALE]
    assert [row[-2] for row in ran.rows["vwap"]] == [STALE, STALE]
    assert [e[-2] & STALE for e in ran.rows["event"]] == [0, 0, STALE, STALE, STALE]
    assert ran.engine.feed_state("itch")["stale"] == 1


def test_a_tick_gives_up_what_nobody_sends():
    pieces = [packet(1, [add(1, MS)], 1), packet(3, [add(3, 3 * MS)], 3)]

    waiting, given_up = go([*pieces, tick(102)], end=False), go([*pieces, tick(103)], end=False)

    assert orders(waiting) == [1]
    assert orders(given_up) == [1, 3]


def test_the_end_of_the_source_gives_up_before_time_ends():
    ran = go([packet(1, [add(1, MS)], 1), packet(3, [add(3, 3 * MS), trade(9, 4 * MS)], 3)])

    assert orders(ran) == [1, 3, 0]
    assert len(ran.rows["vwap"]) == 1
    assert ran.counts.late == 0


def test_ticks_before_the_first_message_say_nothing_of_the_venues_day():
    """The node waits for the open with a clock that is years ahead of the simulated day."""
    year_ms = 365 * 86_400_000
    heartbeat = packet(1, [], year_ms)
    pieces = [packet(n, [trade(n, n * 400 * MS)], year_ms + 9_000 + n) for n in range(1, 6)]

    plain, waited = (
        go(pieces),
        go([heartbeat, tick(year_ms + 1_500), tick(year_ms + 5_000), *pieces]),
    )

    assert waited.rows["vwap"] == plain.rows["vwap"] != []
    assert waited.counts.late == waited.counts.late_at_windows == 0


def test_the_time_of_a_silent_feed_goes_on_with_the_receivers_clock():
    """The venue's clock may be years away from ours: only what has passed since counts."""
    year_ms = 365 * 86_400_000
    pieces = [
        packet(1, [trade(1, 100 * MS)], year_ms),
        tick(year_ms + 1_899),
        tick(year_ms + 1_900),
    ]

    early, closed = go(pieces[:2], end=False), go(pieces, end=False)

    assert early.rows["vwap"] == []
    assert [row[0] for row in closed.rows["vwap"]] == [1000 * MS]


@pytest.mark.parametrize("cuts", [(), (1,), (2, 3)])
def test_frames_fed_in_any_runs_give_the_same(cuts):
    pieces = [packet(n, [add(n, n * MS), trade(n, n * MS)], n) for n in (1, 5, 3, 9, 7, 13)]
    pieces.append(frame(END, 0, b""))

    one = run_engine(make(PIPELINE, framing={"itch": "moldudp64"}), pieces)
    cut = run_engine(make(PIPELINE, framing={"itch": "moldudp64"}), pieces, feeds=cuts)

    assert cut.digests == one.digests
    assert cut.state == one.state
    assert cut.rows == one.rows


def test_interpreted_is_the_same():
    pieces = [packet(n, [add(n, n * MS), trade(n, n * MS)], 60 * n) for n in (1, 5, 3, 9, 7, 13)]
    pieces += [tick(900), frame(END, 0, b"")]
    one = run_engine(make(PIPELINE, framing={"itch": "moldudp64"}), pieces)
    with mode.running("interpreted"):
        plain = run_engine(make(PIPELINE, framing={"itch": "moldudp64"}), pieces)

    assert plain.rows == one.rows
    assert (plain.digests, plain.state) == (one.digests, one.state)
