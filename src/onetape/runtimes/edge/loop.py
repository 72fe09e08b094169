"""The hot loop: poll the inbox, put the frame on the tape, run it, publish; never back to Python.

One thread, no allocation, no lock. Around it:

    inbox   frames from whoever reads the world (a file, later a socket), a ring as the tape's is
    tape    ring and control of `onetape.tape.ring`; the journal writer empties it
    words   what this loop and Python tell each other, each word on a cache line of its own

A full output ring or a journal that is behind makes the loop wait (and the inbox fill up, and its
producer wait): from a file nothing is lost. Each wait is counted. The driver's `turn` is called on
the frame where it lies in the tape's ring: no copy.
"""

from typing import Any

import numpy as np

from onetape.compiled.atomics import load_acquire, store_release
from onetape.compiled.counts import record_ns
from onetape.compiled.frame import (
    HEADER_BYTES,
    PAD,
    TICK,
    frame_bytes,
    frame_kind,
    frame_length,
    frame_source,
    frame_ts_recv_ns,
)
from onetape.engine import closure
from onetape.engine import compile as compiler
from onetape.engine.engine import Engine
from onetape.engine.layout import LINE, OUT_FULL
from onetape.engine.text import Text
from onetape.native.clock import clock_ns, monotonic_ns, sleep_ns
from onetape.tape.ring import FAULTED, HEAD, REFUSED_FULL, TOO_LONG, WRITTEN, append

# Words shared with Python.
STOP = 0 * LINE  # Python: 1 asks the loop to finish what is in the inbox and return
STATE = 1 * LINE  # loop: one of the states below
DONE_OFFSET = 2 * LINE  # loop: frames with a smaller offset have been run
WAITS_OUTPUT = 3 * LINE  # loop: times it waited for room in an output ring
WAITS_TAPE = 4 * LINE  # loop: times it waited for the journal
WAITS_FULL = 5 * LINE  # loop: times it was refused because the disk is full
TICKS = 6 * LINE  # Python, before the start: 1 makes ticks for silent sources (live input only)
WAIT_NS = 7 * LINE  # Python, before the start: first sleep when there is nothing to do; 0 spins
WAIT_MAX_NS = 8 * LINE  # Python, before the start: each further sleep is twice as long, up to this
NAP_NS = 9 * LINE  # loop: the next sleep
WORDS = 10 * LINE

RUNNING, STOPPED, AT_CAPACITY, TAPE_FAULT, FRAME_TOO_LONG = range(5)
PAUSE_NS = 20_000  # while an output, the journal or the disk has no room


def build(engine: Engine, inbox: tuple[Any, Any], tape: tuple[Any, Any]) -> tuple[Any, list[Any]]:
    """The compiled loop for an engine, and its arguments."""
    words = np.zeros(WORDS, np.int64)
    sources = len(engine.plan.pipeline.sources)
    idle_ns = np.array([s.idle_ns for s in engine.plan.pipeline.sources], np.int64)
    from onetape.compiled.counts import new_counts

    own = [*inbox, *tape, words, np.zeros(sources, np.int64), idle_ns, new_counts()]
    arguments = engine.arguments(tape[0], 0)
    names = dict(_NAMES, turn=engine.turn)
    text = _text(list(engine.arrays), closure.fingerprint(engine.plan.text, engine.plan.names))
    del arguments[3]  # `end`: the loop gives it
    return compiler.generated(text, names, "loop", own + arguments), own + arguments


def _text(arrays: list[str], driver: str) -> str:
    fixed = "inbox, inbox_control, ring, control, words, last_ns, idle_ns, service"
    engine = ["run", "sources", "buffer", "heads", "tails", "counts", *arrays]
    text = Text()
    text.add(f'"""The hot loop of driver {driver}: see onetape/runtimes/edge/loop.py."""', "", "")
    with text.block(f"def loop({fixed}, {', '.join(engine)})"):
        text.add(
            "r = row(run, 0)",
            "mask = ring.shape[0] - 1",
            "tail = inbox_control[WRITTEN]",
        )
        with text.block("while True"):
            text.add("position, tail = take(inbox, inbox_control, ring, control, words, tail,")
            text.add("                      last_ns, idle_ns)")
            with text.block("if position < 0"):
                with text.block("if position == NOTHING"):
                    text.add("continue")
                text.add("break")
            text.add(
                "began_ns = monotonic_ns()",
                "r.frame_at = position & mask",
                "end = r.frame_at + frame_bytes(frame_length(ring, r.frame_at))",
                "status = OUT_FULL",
            )
            with text.block("while status == OUT_FULL"):
                call = ", ".join(["run, sources, buffer, end", *engine[3:]])
                text.add(f"status = turn({call})")
                with text.block("if status == OUT_FULL"):
                    text.add("words[WAITS_OUTPUT] += 1", "sleep_ns(PAUSE_NS)")
            text.add(
                "record_ns(service, monotonic_ns() - began_ns)",
                "store_release(words, DONE_OFFSET, r.offset + 1)",
            )
            with text.block("if status != 0"):
                text.add("store_release(words, STATE, AT_CAPACITY)", "break")
        text.add("return 0")
    return str(text)


NOTHING, LEAVE = -1, -2


def _take(inbox, inbox_control, ring, control, words, tail, last_ns, idle_ns):  # type: ignore[no-untyped-def]
    """Move the next frame of the inbox to the tape. (its position, new tail of the inbox).

    Without one: (NOTHING, tail) after a wait, or a tick frame if a source has been silent; (LEAVE,
    tail) when asked to stop, or when the tape can take no more.
    """
    if load_acquire(inbox_control, HEAD) == tail:
        if load_acquire(words, STOP) != 0:
            store_release(words, STATE, STOPPED)
            return LEAVE, tail
        if words[TICKS] != 0:
            now_ns = clock_ns()
            for source in range(last_ns.shape[0]):
                if last_ns[source] > 0 and now_ns - last_ns[source] >= idle_ns[source]:
                    last_ns[source] = now_ns
                    position = append(ring, control, source, TICK, now_ns, inbox, 0, 0)
                    if position >= 0:
                        return position, tail
        if words[WAIT_NS] > 0:
            sleep_ns(words[NAP_NS])
            words[NAP_NS] = min(2 * words[NAP_NS], words[WAIT_MAX_NS])
        return NOTHING, tail
    words[NAP_NS] = words[WAIT_NS]
    at = tail & (inbox.shape[0] - 1)
    length = frame_length(inbox, at)
    kind = frame_kind(inbox, at)
    if kind == PAD:
        tail += frame_bytes(length)
        store_release(inbox_control, WRITTEN, tail)
        return NOTHING, tail
    source = frame_source(inbox, at)
    ts_recv_ns = frame_ts_recv_ns(inbox, at)
    position = append(ring, control, source, kind, ts_recv_ns, inbox, at + HEADER_BYTES, length)
    if position < 0:
        if position == FAULTED or position == TOO_LONG:
            store_release(words, STATE, TAPE_FAULT if position == FAULTED else FRAME_TOO_LONG)
            return LEAVE, tail
        words[WAITS_FULL if position == REFUSED_FULL else WAITS_TAPE] += 1
        if load_acquire(words, STOP) > 1:  # asked to leave at once, whatever is waiting
            store_release(words, STATE, STOPPED)
            return LEAVE, tail
        sleep_ns(PAUSE_NS)
        return NOTHING, tail
    if source < last_ns.shape[0]:
        last_ns[source] = ts_recv_ns
    tail += frame_bytes(length)
    store_release(inbox_control, WRITTEN, tail)
    return position, tail


def _names() -> dict[str, Any]:
    from onetape.compiled.kernel import Kernel
    from onetape.compiled.rows import row

    return {
        "row": row,
        "take": Kernel(_take),
        "frame_bytes": frame_bytes,
        "frame_length": frame_length,
        "monotonic_ns": monotonic_ns,
        "sleep_ns": sleep_ns,
        "record_ns": record_ns,
        "store_release": store_release,
        "OUT_FULL": OUT_FULL,
        "NOTHING": NOTHING,
        "WAITS_OUTPUT": WAITS_OUTPUT,
        "PAUSE_NS": PAUSE_NS,
        "DONE_OFFSET": DONE_OFFSET,
        "STATE": STATE,
        "AT_CAPACITY": AT_CAPACITY,
        "WRITTEN": WRITTEN,
    }


_NAMES = _names()
