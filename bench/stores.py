"""Rows into QuestDB and NATS, and a node fed from NATS, on servers of this machine.

    sinks   the same trades to each: from the first row to the server's answer for the last; the
            processor time is that of this process, so of what a node pays beside its hot loop
    node    a simulated day is in a stream; from the node's start (compiled) to the end of its tape,
            its rows in another stream

Right if every row is in its store once, and the digests of the stream are those of the file.

onetape bench stores
"""

import contextlib
import io
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import onetape as ot
from onetape.cli import main
from onetape.connect.nats.link import Link
from onetape.connect.nats.publisher import publish_blocks
from onetape.connect.nats.settings import settings
from onetape.connect.nats.streams import last
from onetape.connect.sinks.taking import Output
from onetape.engine.layout import ORIGIN
from onetape.records import OperatorError
from onetape.records.market import Trade
from onetape.runtimes import batch
from onetape.runtimes.blocks import blocks_of
from onetape.runtimes.inputs import inputs_of
from onetape.runtimes.standard import market_watch
from onetape.sim.exchange import TRADING_DATE, write_file

TAKEN_ROWS = 5_000
INSTRUMENTS = 50
WITHIN_S = 120.0


def run(
    rows: int = 500_000, rounds: int = 3, messages_per_s: float = 200_000, seconds: float = 10.0
) -> dict[str, Any]:
    """The best of the rounds; OperatorError where a server is not installed."""
    from tests import servers

    if lacks := servers.missing("questdb") or servers.missing("nats"):
        raise OperatorError(lacks)
    questdb, nats = servers.start("questdb"), servers.start("nats")
    try:
        sinks = {
            "questdb": _best(rounds, rows, lambda n: ot.questdb(questdb.address, table=f"t{n}")),
            "nats blocks": _best(
                rounds, rows, lambda n: ot.nats(nats.address, f"B{n}", events=False)
            ),
            "nats events": _best(rounds, rows // 100, lambda n: ot.nats(nats.address, f"E{n}")),
        }
        are_there = [_in_questdb(questdb.address, f"t{n}", rows) for n in range(rounds)]
        are_there += [_in_nats(nats.address, n, rows) for n in range(rounds)]
        node = _node(nats.address, messages_per_s, seconds, rounds)
    finally:
        questdb.stop()
        nats.stop()
    answer_ok = all(are_there) and node.pop("answer_ok")
    return {"answer_ok": answer_ok, "rows": rows, "sinks": sinks, "node": node}


def _best(rounds: int, rows: int, sink: Any) -> dict[str, Any]:
    found = [_delivered(sink(n), rows) for n in range(rounds)]
    return {
        "rows_per_s": round(rows / min(wall_s for wall_s, _ in found)),
        "cpu_ns_per_row": round(min(cpu_s for _, cpu_s in found) / rows * 1e9),
    }


def _delivered(sink: Any, rows: int) -> tuple[float, float]:
    names = {i: f"S{i}" for i in range(INSTRUMENTS)}
    with tempfile.TemporaryDirectory(prefix="onetape-bench-stores-") as folder:
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        taker = sink.open(Output("trade", Trade, names, {}, None, Path(folder)))
        for at in range(0, rows, TAKEN_ROWS):
            taker.take(*_trades(at, min(TAKEN_ROWS, rows - at)))
        taker.finish()
        took = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        taker.close()
    return took


def _trades(first: int, count: int) -> tuple[Any, Any]:
    rows, origins = np.zeros(count, Trade.dtype), np.zeros(count, ORIGIN)
    rows["ts_event_ns"] = 1_767_605_400_000_000_000 + np.arange(first, first + count)
    rows["instrument_id"] = np.arange(count) % INSTRUMENTS
    rows["price_ticks"], rows["qty_lots"], rows["side"] = 990_000, 100, ord("B")
    origins["sequence"] = np.arange(first, first + count)
    return rows, origins


def _in_questdb(address: str, table: str, rows: int) -> bool:
    """They can be seen a moment after they were taken."""
    end_s, seen = time.monotonic() + WITHIN_S, -1
    while seen != rows and time.monotonic() < end_s:
        found = ot.query(f"questdb:{address}", f"SELECT count(*) AS n FROM {table}")
        seen = found["n"][0].as_py()
    return seen == rows


def _in_nats(address: str, n: int, rows: int) -> bool:
    with Link(settings(address)) as link:
        blocks = last(link, f"B{n}", f"B{n}.shard.0.trade").headers.get("Onetape-Rows")
        events = last(link, f"E{n}", f"E{n}.event.trade").headers.get("Onetape-Rows")
    return blocks == str(rows) and events == str(rows // 100)


def _node(address: str, messages_per_s: float, seconds: float, rounds: int) -> dict[str, Any]:
    """`onetape run standard --nats`, as it is typed."""
    with tempfile.TemporaryDirectory(prefix="onetape-bench-stores-") as folder:
        day = Path(folder) / "day.itch"
        write_file(day, seconds=seconds, messages_per_s=messages_per_s)
        inputs = inputs_of(market_watch(), day, TRADING_DATE)
        engine = batch.make_engine(market_watch(), inputs.framing, inputs.midnight_ns)
        expected = batch.run(engine, inputs.runs()).digests
        began_s = time.perf_counter()
        with Link(settings(address)) as link:
            put = publish_blocks(link, "DAY", blocks_of(market_watch(), inputs))
        published_s = time.perf_counter() - began_s
        found = []
        for n in range(rounds):
            tape = str(Path(folder) / f"tape{n}")
            words = ["run", "standard", "--nats", address, "--stream", "DAY", "--tape", tape]
            found.append(_json([*words, "--stream-out", f"OUT{n}", "--json"]))
            told = _json(
                ["nats", "digests", "standard", "--nats", address, "--stream", f"OUT{n}", "--json"]
            )
            found[-1]["is_right"] = told["digests"] == found[-1]["digests"] == expected
    best = min(found, key=lambda facts: float(facts["elapsed_s"]))
    return {
        "answer_ok": all(facts["is_right"] for facts in found),
        "events": best["messages"],
        "events_per_s": round(best["messages"] / best["elapsed_s"]),
        "published_per_s": round(put.events / published_s),
        "bytes_per_event": round(put.size_bytes / put.events, 2),
    }


def _json(words: list[str]) -> dict[str, Any]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        if main(words):
            raise OperatorError(f"onetape {' '.join(words)} failed")
    made: dict[str, Any] = json.loads(said.getvalue())
    return made
