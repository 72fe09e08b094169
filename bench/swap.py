"""Hot swaps under load: is anything lost or doubled, how long is the pause, what does a reader see?

The generator of the wire bench offers messages; the node runs the standard pipeline and one more
operator, which has three versions: another field of state (migrated key by key, and back), and
another setting. Swaps follow each other ten a second, to and fro; the slice before is without any.
A slice's alerts must come back, each once; every message must have been run, once; and the tape run
again in this process must come to the digests of the node.

    pause   from the old loop's last act between two frames to the new loop's first
    still   alerts, from their due time to their arrival, without swaps
    swap    the same while versions are swapped
    hiccup  how much a thread oversleeps here meanwhile: a pause cannot be shorter than that

onetape bench swap [--swaps N] [--rate N] [--wait spin|yield|sleep]
"""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from bench.wire import HICCUP_SLEEP_NS, Stage, accounts, latencies, percentiles
from bench.wire_flow import Load

from onetape.engine.digest import digests_of, state_digest
from onetape.engine.engine import Engine
from onetape.engine.graph import Pipeline
from onetape.engine.planner import plan
from onetape.engine.succession import succeed
from onetape.runtimes import course
from onetape.runtimes.code import Code, store
from onetape.runtimes.edge import loop
from onetape.runtimes.edge.follower import follow
from onetape.runtimes.edge.hiccup import HiccupMeter
from onetape.runtimes.edge.node import OUTPUT_ROWS, EdgeNode
from onetape.runtimes.edge.swap import swap
from onetape.tape.layout import read_facts
from onetape.tape.reader import read_segments

RATE = 200_000
EVERY_S = 0.1  # from one swap to the next
FRAMING = {"itch": "moldudp64"}
FILE = """
import onetape as ot
from onetape import market as mk
from onetape.runtimes.standard import market_watch

@ot.record
class Tally:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    count: ot.i64
    lots: ot.i64

@ot.operator(key="instrument_id")
class Tallies:
    count: ot.i64 = 0
    lots: ot.i64 = 0
{state}
    def on_trade(self, t: mk.Trade, *, times: int = 1) -> Tally | None:
        self.count += times
        self.lots += t.qty_lots
{step}
        return Tally(t.ts_event_ns, t.instrument_id, self.count, self.lots)

watch = market_watch().outputs
pipeline = ot.Pipeline(**watch, tally=Tallies(watch["trade"]))
"""
WIDER = {
    "state": "    most: ot.i64 = 0\n    migrate = migrate_back = 'by_name'",
    "step": "        self.most = max(self.most, t.qty_lots)",
}


def versions() -> list[Code]:
    """The three, planned."""
    texts = [FILE.format(state="", step=""), FILE.format(**WIDER)]
    codes = [Code("tally.py", {"tally.py": text}) for text in texts]
    codes.append(replace(codes[0], settings={"Tallies.times": 3}))
    found = []
    for code in codes:
        planned = plan(code.pipeline(), FRAMING)
        found.append(replace(code, driver=planned.driver))
    return found


class Swapping:
    """What the node's process does besides running: it swaps, and keeps digests."""

    def __init__(self, codes: list[Code]) -> None:
        self.codes = codes

    def pipeline(self) -> Pipeline:
        return self.codes[0].pipeline()

    def begin(self, node: EdgeNode) -> None:
        self.node = node
        self.names = [store(node.folder, code) for code in self.codes]
        self.digests = digests_of(node.plan)
        node.when_swapped.append(lambda planned: follow(self.digests, planned))
        self.pauses_ns: list[int] = []
        self.offsets: list[int] = []
        self._thread: threading.Thread | None = None

    def take(self, name: str, rows: Any, origins: Any) -> None:
        self.digests[name].update(rows, origins)

    def hear(self, asked: Any) -> Any:
        what, *given = asked
        if what == "swap":
            self._thread = threading.Thread(target=self._swap, args=given)
            self._thread.start()
            return None
        if what == "swapped":
            assert self._thread is not None
            return None if self._thread.is_alive() else (self.pauses_ns, self.offsets)
        for block in self.node.stop():
            self.take(*block)
        self.node.tape.sync()
        digests = {name: digest.hexdigest() for name, digest in self.digests.items()}
        return digests, state_digest(self.node.engine), int(self.node.engine.run["events"][0])

    def _swap(self, count: int, after_s: float) -> None:
        time.sleep(after_s)
        for n in range(count):
            due_s = time.monotonic() + EVERY_S
            to, back = ((1, False), (0, True), (2, False), (0, False))[n % 4]
            made = swap(self.node, self.names[to], back=back)
            self.pauses_ns.append(made.pause_ns)
            self.offsets.append(made.offset)
            time.sleep(max(0.0, due_s - time.monotonic()))


class SwapStage(Stage):
    """The stage of the wire bench, with a node that can be asked for swaps."""

    more: Swapping

    def _start(self, name: str, run: Any, *arguments: Any) -> None:
        super()._start(name, run, *arguments, *([self.more] if name == "node" else []))

    def ask(self, *what: Any) -> Any:
        self._pipes["node"].send(what)
        return self._hear("node")


def compile_all(codes: list[Code]) -> None:
    """What `onetape deploy` does before it asks the node."""
    plans = [plan(code.pipeline(), FRAMING, sampled=True) for code in codes]
    for to, of, back in ((1, 0, False), (0, 1, True), (2, 0, False), (0, 2, False)):
        old = Engine(plans[of], output_rows=OUTPUT_ROWS)
        made = succeed(old, plans[to], back=back, output_rows=OUTPUT_ROWS)
        around = loop.stand_in(plans[to], ["alert"])
        loop.build(old, loop.stand_in(plans[of], ["alert"]))
        loop.build_entry(made, around, around.sent)


def run(swaps: int = 100, rate: int = RATE, wait: str = "sleep") -> dict[str, Any]:
    """`swaps` swaps at `rate` messages a second, after as long without any."""
    codes, load = versions(), Load.of(rate)
    compile_all(codes)
    seconds = swaps * EVERY_S * 1.3 + 1.0
    stage = SwapStage(load, [[(seconds, 1.0)]] * 2, wait=wait, has_echo=False)
    stage.more = Swapping(codes)
    with stage:
        before = stage.facts
        still = stage.run_slice("node", 1)
        stage.ask("swap", swaps, seconds * 0.1)
        began_s, others_ns = time.monotonic(), -stage.others_ns()
        with HiccupMeter(HICCUP_SLEEP_NS) as meter:
            seen = stage.run_slice("node", 2)
        others_cpu = (others_ns + stage.others_ns()) / 1e9 / (time.monotonic() - began_s)
        while (made := stage.ask("swapped")) is None:
            time.sleep(0.1)
        node = stage.since(before)
        digests, state, events = stage.ask("end")
        again, state_again, ran = _again(codes[0], stage.folder / "tape")
    pauses_ns, offsets = made
    owed = accounts(load, node, [still, seen])
    sent = (still["packets"] + seen["packets"]) * load.packet_messages
    replay_equal = (again, state_again) == (digests, state)
    return {
        "answer_ok": bool(
            owed["answer_ok"] and replay_equal and ran == swaps == len(set(offsets))
            and owed["lost_messages"] == 0 and owed["lost_alerts"] == 0
        ),
        "swaps": len(pauses_ns),
        "offered_per_s": rate,
        "messages": sent,
        "lost_messages": owed["lost_messages"],
        "doubled_messages": node["messages"] - (sent - owed["lost_messages"]),
        "alerts": owed["alerts"],
        "lost_alerts": owed["lost_alerts"],
        "replay_equal": replay_equal,
        "events": events,
        **{f"pause_ns_p{p:g}": int(np.percentile(pauses_ns, p)) for p in (50, 99, 99.9)},
        "pause_ns_max": max(pauses_ns),
        "pause_ns_p50_kept": int(np.median([*pauses_ns[2::4], *pauses_ns[3::4]])),
        "pause_ns_p50_migrated": int(np.median([*pauses_ns[0::4], *pauses_ns[1::4]])),
        **latencies("still", [still]),
        **latencies("swap", [seen]),
        **percentiles("to_sink", node["to_sink"], 50, 99, 99.9),
        **percentiles("hiccup", meter.counts, 50, 99, 99.9, 100),
        "kernel_drops": node["kernel_drops"],
        "others_cpu": round(others_cpu, 3),
        "wait": wait,
    }  # fmt: skip


def _again(code: Code, folder: Path) -> tuple[dict[str, str], str, int]:
    """(digests, state digest, swaps) of the tape run again."""
    ran = course.begin(code.pipeline(), folder, read_facts(str(folder)).manifest)
    digests = digests_of(ran.engine.plan)
    ran.when_swapped.append(lambda made: follow(digests, made.engine.plan))
    for buffer, begin, end in read_segments(folder):
        for name, rows, origins in ran.feed(buffer, begin, end):
            digests[name].update(rows, origins)
    found = {name: digest.hexdigest() for name, digest in digests.items()}
    return found, state_digest(ran.engine), ran.swaps
