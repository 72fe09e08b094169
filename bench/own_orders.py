"""Own orders: what a report costs to read, and the public book to join; one core, best of rounds.

    a day of the simulated exchange; of one added order in eight there is a report right behind it

The joined pipeline keeps the book of all events and looks at it at each report. The rows must be as
many as the reports, and the same for another split of the input.
"""

import struct
import time
from typing import Any

import numpy as np

import onetape as ot
from onetape.codecs.fix44.write import report_of
from onetape.compiled.frame import DATA, END
from onetape.engine.digest import digests_of
from onetape.engine.frames import packed
from onetape.market import ADD, ASK, BID, OwnOrder
from onetape.runtimes import batch
from onetape.sim import simulate
from onetape.testing import row

MIDNIGHT_NS = 1_767_589_200 * 10**9
ONE_IN = 8

feed, copy = ot.source("itch"), ot.source("fix://dropcopy:9880")
BOOK = ot.Pipeline(top=feed.top_of_book())
ORDERS = ot.Pipeline(order=copy.orders())
JOINED = ot.Pipeline(mine=copy.orders().with_book(feed))


def run(messages: int = 1_000_000, rounds: int = 5) -> dict[str, Any]:
    """Nanoseconds for a message of the day, and for a report; the best of some rounds."""
    public, reports = inputs(messages)
    both = [item for pair in zip(public, reports, strict=True) for item in pair]
    own = [(0, DATA, payload) for _, _, payload in reports]
    ways = {"book": (BOOK, public), "orders": (ORDERS, own), "joined": (JOINED, both)}
    runs = {name: list(_runs(items, len(p.sources))) for name, (p, items) in ways.items()}
    best: dict[str, float] = {}
    answers: dict[str, Any] = {}
    for _ in range(rounds):
        for name, (pipeline, _) in ways.items():
            elapsed_s, answers[name], rows = timed(pipeline, runs[name])
            best[name] = min(best.get(name, elapsed_s), elapsed_s)
            if name == "joined" and rows != len(reports):
                return {"answer_ok": False, "rows": rows, "reports": len(reports)}
    again = timed(JOINED, list(_runs(both, 2, 1 << 16)))[1]
    events = sum(1 for _ in messages_of(b"".join(payload for _, _, payload in public)))
    join_ns = (best["joined"] - best["book"] - best["orders"]) / len(reports) * 1e9
    return {
        "answer_ok": again == answers["joined"],
        "messages": events,
        "reports": len(reports),
        "book_ns_per_message": round(best["book"] / events * 1e9, 1),
        "report_ns": round(best["orders"] / len(reports) * 1e9, 1),
        "joined_ns_per_message": round(
            (best["joined"] - best["orders"]) / (events + len(reports)) * 1e9, 1
        ),
        "join_ns_per_report": round(join_ns, 1),
    }


def timed(pipeline: Any, runs: list[Any]) -> tuple[float, dict[str, str], int]:
    """(seconds, digests, rows) of the pipeline over the frames."""
    engine = batch.make_engine(pipeline, midnight_ns=MIDNIGHT_NS)
    digests, rows, spent_s = digests_of(engine.plan), 0, 0.0
    for frames in runs:
        began_s = time.perf_counter()
        made = list(engine.feed(*frames))
        spent_s += time.perf_counter() - began_s
        for name, block, origins in made:
            digests[name].update(block, origins)
            rows += len(block)
    return spent_s, {name: digest.hexdigest() for name, digest in digests.items()}, rows


def inputs(messages: int) -> tuple[list[Any], list[Any]]:
    """Runs of ITCH, and the report that comes behind each."""
    day = simulate(seed=7, instruments=100, seconds=20.0, messages_per_s=messages / 20, episodes=0)
    data, begin, adds = day.data.tobytes(), 0, 0
    public: list[Any] = []
    reports: list[Any] = []
    for at, end in messages_of(data):
        if data[at + 2 : at + 3] != b"A":
            continue
        adds += 1
        if adds % ONE_IN:
            continue
        ref, side, lots, word, price = struct.unpack_from(">QcIQI", data, at + 13)
        order = row(
            OwnOrder,
            ts_event_ns=MIDNIGHT_NS + int.from_bytes(data[at + 7 : at + 13], "big"),
            order_id=ref,
            account_id=int.from_bytes(b"ACC1    ", "big"),
            symbol_word=word,
            price_ticks=price,
            qty_lots=lots,
            leaves_lots=lots,
            sequence=len(reports) + 1,
            action=ADD,
            side=BID if side == b"B" else ASK,
        )
        public.append((0, DATA, data[begin:end]))
        reports.append((1, DATA, report_of(order)))
        begin = end
    return public, reports


def messages_of(data: bytes) -> Any:
    """(begin, end) of each message."""
    at = 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        yield at, end
        at = end


def _runs(items: list[Any], sources: int, buffer_bytes: int = 1 << 20) -> Any:
    """Frames in buffers of their own, to be run again and again."""
    ends = [(n, END, b"") for n in range(sources)]
    for buffer, begin, end in packed([*items, *ends], buffer_bytes=buffer_bytes):
        yield np.array(buffer[:end]), begin, end
