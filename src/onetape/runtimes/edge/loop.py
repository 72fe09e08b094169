"""The hot loop: take what came, put it on the tape, run it, send what it says; and so on.

One thread, no allocation, no lock, never back to Python. Around it:

    lines   sockets of feeds (`intake`); their datagrams become frames
    inbox   frames from Python (a file, the end of a source), a ring as the tape's is
    tape    ring and control of `onetape.tape.ring`; the journal writer empties it
    words   what this loop and Python tell each other (`words`)
    sinks   sockets that rows of an output leave by (`outlet`), at once

A full output ring or a journal that is behind makes the loop wait. Then the inbox fills up and its
producer waits: from a file nothing is lost. A socket's producer does not wait: what its buffer
cannot hold is counted by the kernel and missing in the numbers. Each wait is counted. The driver's
`turn` is called on the frame where it lies in the tape's ring: no copy.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onetape.compiled.atomics import store_release
from onetape.compiled.counts import new_counts, record_ns
from onetape.compiled.frame import frame_bytes, frame_length
from onetape.compiled.rows import row
from onetape.engine import compile as compiler
from onetape.engine.engine import Engine
from onetape.engine.layout import LINE, OUT_FULL, PAUSED
from onetape.engine.text import Text
from onetape.native.clock import monotonic_ns, sleep_ns
from onetape.runtimes.edge import words as w
from onetape.runtimes.edge.asking import REQUEST_BYTES, ask
from onetape.runtimes.edge.intake import NOTHING, take, wait
from onetape.runtimes.edge.outlet import mark_durable, send_rows
from onetape.tape.ring import OFFSET


@dataclass
class Surroundings:
    """What the loop works on besides its engine. Arrays; the loop's arguments, in this order."""

    words: Any
    inbox: Any
    inbox_control: Any
    ring: Any
    control: Any
    lines: Any
    headers: Any
    batch: Any
    watch: Any
    clocks: Any
    sink_fds: Any  # int64[outputs], -1: rows do not leave by themselves
    ask_fds: Any  # int64[sources], -1: nobody to ask
    sent: Any  # int64[outputs]: rows that have left
    packet: Any  # datagram of rows being written
    request: Any = field(default_factory=lambda: np.zeros(REQUEST_BYTES, np.uint8))
    # Latencies: of a frame in the engine; from its arrival to the leaving of its rows; from the
    # venue's time of its last event to its arrival.
    service: Any = field(default_factory=new_counts)
    to_sink: Any = field(default_factory=new_counts)
    lag: Any = field(default_factory=new_counts)

    def names(self) -> list[str]:
        return list(vars(self))


def build(engine: Engine, around: Surroundings) -> tuple[Any, list[Any]]:
    """The compiled loop for an engine, and its arguments."""
    arguments = engine.arguments(around.ring, 0)
    del arguments[3]  # `end`: the loop gives it
    bytes_of = [engine.arrays[f"o{k}"].view(np.uint8) for k in _sinking(around, engine)]
    every = [*vars(around).values(), *bytes_of, *arguments]
    text = _text(engine, around)
    return compiler.generated(text, dict(_NAMES, turn=engine.turn), "loop", every), every


def _sinking(around: Surroundings, engine: Engine) -> list[int]:
    """Outputs whose rows leave by themselves (and that any event can make)."""
    fds = enumerate(around.sink_fds.tolist())
    return [k for k, fd in fds if fd >= 0 and f"o{k}" in engine.arrays]


def _text(engine: Engine, around: Surroundings) -> str:
    sinks = _sinking(around, engine)
    feeds = [
        n
        for n, source in enumerate(engine.plan.pipeline.sources)
        if engine.plan.framing[source.name] == "moldudp64" and f"n{n}_held" in engine.arrays
    ]
    turn = ["run", "sources", "buffer", "heads", "tails", "counts", *engine.arrays]
    text = Text()
    text.add(
        f'"""The hot loop of driver {engine.plan.driver}: see onetape/runtimes/edge/loop.py."""',
        "",
        "",
    )
    parameters = [*around.names(), *(f"o{k}_bytes" for k in sinks), *turn]
    with text.block(f"def loop({', '.join(parameters)})"):
        text.add("r = row(run, 0)", "mask = ring.shape[0] - 1", "turns = 0")
        text.add(*(f"event{n}_ns = 0" for n in feeds))
        with text.block("while True"):
            text.add("position = take(words, inbox, inbox_control, ring, control, lines, headers,")
            text.add("                batch, clocks)")
            with text.block("if position < 0"):
                with text.block("if position != NOTHING"):
                    text.add("break")
                _between(text, feeds)
                text.add("continue")
            text.add(
                "began_ns = monotonic_ns()",
                "r.frame_at = position & mask",
                "end = r.frame_at + frame_bytes(frame_length(ring, r.frame_at))",
                "status = OUT_FULL",
                "turns += 1",
                "r.sampled = int(turns & SAMPLED_MASK == 0)",
            )
            with text.block("while status == OUT_FULL or status == PAUSED"):
                text.add(f"status = turn({', '.join([*turn[:3], 'end', *turn[3:]])})")
                for k in sinks:
                    _send(text, engine, k)
                with text.block("if status == OUT_FULL"):
                    text.add("words[WAITS_OUTPUT] += 1", "sleep_ns(PAUSE_NS)")
            text.add(
                "record_ns(service, monotonic_ns() - began_ns)",
                "store_release(words, DONE_OFFSET, control[OFFSET])",
            )
            for n in feeds:
                with text.block(f"if row(n{n}_feed, 0).last_ts_event_ns != event{n}_ns"):
                    text.add(
                        f"event{n}_ns = row(n{n}_feed, 0).last_ts_event_ns",
                        f"if -CLOCK_NS <= r.ts_recv_ns - event{n}_ns <= LAG_MAX_NS:",
                        f"    record_ns(lag, r.ts_recv_ns - event{n}_ns)",
                    )
                text.add(f"row(clocks, {n}).is_gap = row(n{n}_feed, 0).gap_open")
                with text.block(f"if row(n{n}_feed, 0).gap_open != 0"):
                    text.add(_ASK.format(n=n))
                with text.block("else"):
                    text.add(f"row(clocks, {n}).ask_at_ns = 0")
            with text.block("if status != 0"):
                text.add("store_release(words, STATE, AT_CAPACITY)", "break")
            if sinks:
                text.add("mark_durable(words, control, sink_fds, packet)")
        text.add("return 0")
    return str(text)


def _between(text: Text, feeds: list[int]) -> None:
    """Nothing has come: ask for what is missing, say what is durable, wait."""
    text.add("is_gap = 0")
    for n in feeds:
        with text.block(f"if row(n{n}_feed, 0).gap_open != 0"):
            text.add("is_gap = 1")
            text.add(_ASK.format(n=n))
    text.add("mark_durable(words, control, sink_fds, packet)")
    text.add("wait(words, lines, watch, is_gap)")


def _send(text: Text, engine: Engine, k: int) -> None:
    size = engine.arrays[f"o{k}"].dtype.itemsize
    with text.block(f"if heads[{k * LINE}] > sent[{k}]"):
        text.add(
            f"send_rows(words, ring, control, sink_fds[{k}], packet, {k}, o{k}_bytes, {size}, sent,"
            f" heads[{k * LINE}], r, to_sink)"
        )


_ASK = (
    "ask(words, row(clocks, {n}), row(n{n}_feed, 0), n{n}_held, ask_fds[{n}], request,"
    " monotonic_ns())"
)
_NAMES: dict[str, Any] = {
    "ask": ask,
    "frame_bytes": frame_bytes,
    "frame_length": frame_length,
    "mark_durable": mark_durable,
    "monotonic_ns": monotonic_ns,
    "record_ns": record_ns,
    "row": row,
    "send_rows": send_rows,
    "sleep_ns": sleep_ns,
    "store_release": store_release,
    "take": take,
    "wait": wait,
    "NOTHING": NOTHING,
    "OFFSET": OFFSET,
    "OUT_FULL": OUT_FULL,
    "PAUSED": PAUSED,
    "PAUSE_NS": w.PAUSE_NS,
    "CLOCK_NS": 10**9,  # how far two clocks may be apart
    "LAG_MAX_NS": 3600 * 10**9,  # an older event is of another day, or of a clock of its own
    "SAMPLED_MASK": 63,  # every 64th frame
    "AT_CAPACITY": w.AT_CAPACITY,
    "DONE_OFFSET": w.DONE_OFFSET,
    "STATE": w.STATE,
    "WAITS_OUTPUT": w.WAITS_OUTPUT,
}
