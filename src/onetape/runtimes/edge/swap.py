"""Put another version in the place of the one that runs, without stopping the node.

All that takes time is done first, beside the running loop: loading, laying out arrays, starting
the new loop's thread, which waits. Then the order is given; what happens from there to the first
frame of the new version is compiled code (`handover.py`), and is what the node measures as a pause.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onetape.compiled.atomics import peek, poke
from onetape.connect.cases.sink import CasesSink
from onetape.engine.graph import Pipeline, UdpSink
from onetape.engine.succession import Succession, succeed
from onetape.records import OperatorError
from onetape.runtimes.course import order_of
from onetape.runtimes.edge import loop, words
from onetape.runtimes.edge.node import OUTPUT_ROWS, EdgeNode

READY_S = 30.0  # for the new thread to stand ready
LOOK_S = 0.0002


@dataclass(frozen=True)
class Swapped:
    """What a swap came to.

    offset    of the frame at which the new version took over: it is the first that is not the old's
    pause_ns  from the old loop's last act to the new one's first
    steps     {node: what became of its state}
    """

    version: str
    before: str
    offset: int
    pause_ns: int
    steps: dict[str, str]


def swap(node: EdgeNode, version: str, *, back: bool = False, drop_state: bool = False) -> Swapped:
    """Swap to a version that is stored beside the tape; from any thread, one at a time.

    OperatorError: it cannot take over, and nothing has changed. What it makes itself compiles here,
    if nobody has compiled it before: see `deploy`.
    """
    planned = node.versions.plan(version)
    check_outputs(node.plan.pipeline, planned.pipeline, set(node.sinks))
    made = succeed(node.engine, planned, back=back, drop_state=drop_state, output_rows=OUTPUT_ROWS)
    for name, array in made.engine.arrays.items():
        if name[0] in "og":  # memory that is first touched now is not first touched by the loop
            array.view(np.uint8)[...] = 0
    around = replace(node.around, **loop.ways_out(planned, node.sinks))
    enter, arguments = loop.build_entry(made, around, node.around.sent)
    order = order_of(version, planned.driver, back=back, drop_state=drop_state)
    with node.turnover:
        _begin(node, made, lambda turn: _run(node, enter, turn, arguments), order)
        before, offset = node.version, int(node.words[words.SWAP_OFFSET])
        pause_ns = int(node.words[words.PAUSE_NS_OF_SWAP])
        node.go_on_with(made.engine, around, version, offset)
        if node.priority is not None:
            node.place(node.threads[0])
    return Swapped(version, before, offset, pause_ns, made.steps)


def _begin(node: EdgeNode, made: Succession, enter: Callable[[int], Any], order: bytes) -> None:
    """Start the new loop's thread, give the order, and wait until it runs."""
    if node.is_ending or not node.threads[0].is_alive():
        raise OperatorError("the node is ending; nothing was changed")
    turn = int(node.words[words.TURN]) + 1
    node.words[words.TURN] = turn
    thread = node.new_thread(made.engine, lambda: enter(turn))
    node.threads.append(thread)
    thread.start()
    if node.priority is None:  # else it would wait behind the very loop it is to follow
        node.place(thread)
    try:
        _until(lambda: peek(node.words, words.READY) == turn, READY_S)
    except OperatorError:
        node.threads.pop()  # nobody hands over to it; it ends when the node does
        raise
    node.around.order[: len(order)] = np.frombuffer(order, np.uint8)
    poke(node.words, words.ORDERED, len(order))
    while peek(node.words, words.HANDED) != turn:
        if not node.threads[0].is_alive():  # it stopped, or raised, before it came to the order
            poke(node.words, words.HANDED, -1)
            thread.join()
            node.threads.pop()
            raise OperatorError("the node has ended; the running version stays on its tape")
        time.sleep(LOOK_S)
    _until(lambda: peek(node.words, words.TAKEN) == turn or not thread.is_alive(), READY_S)
    if peek(node.words, words.TAKEN) != turn:
        raise OperatorError("the state could not be taken over, and the node halts: see its errors")


def _run(node: EdgeNode, enter: Callable[..., Any], turn: int, arguments: list[Any]) -> None:
    try:
        enter(turn, *arguments)
    except Exception as why:
        if peek(node.words, words.TAKEN) == turn:
            raise
        raise OperatorError(
            f"the state could not be taken over: migrate raised {type(why).__name__}: {why}; the "
            "order is on the tape, so the pipeline halts there. Run the same input on a new tape"
        ) from why


def _until(is_so: Callable[[], bool], limit_s: float) -> None:
    began_s = time.monotonic()
    while not is_so():
        if time.monotonic() - began_s > limit_s:
            raise OperatorError(f"the new version was not ready within {limit_s:g} s")
        time.sleep(LOOK_S)


def check_outputs(before: Pipeline, after: Pipeline, sinks: set[str]) -> None:
    """Whoever listens to an output goes on listening to the same one.

    sinks  names of outputs that leave as datagrams
    """
    was, now = list(before.outputs), list(after.outputs)
    for name in sinks:
        if name not in now or now.index(name) != was.index(name):
            place = f"number {now.index(name)}" if name in now else "gone"
            raise OperatorError(
                f"output {name!r} is sent as datagrams under number {was.index(name)}, and is "
                f"{place} in the new version; keep the outputs that are sent in their places, and "
                "put new ones behind them"
            )
    for name, stream in after.outputs.items():
        old = before.outputs.get(name)
        if any(isinstance(sink, CasesSink) for sink in stream.sinks):
            raise OperatorError(
                f"output {name!r} goes to cases, which look at the tape again with the version "
                "that the run began with; stop the node, and begin a new tape with the new one"
            )
        if old is not None and old.sinks != stream.sinks:
            raise OperatorError(
                f"output {name!r} had the sinks {old.sinks} and has {stream.sinks}; where rows go "
                "is not changed by a swap: stop the node, and go on with --resume"
            )
        if old is None and any(isinstance(sink, UdpSink) for sink in stream.sinks):
            raise OperatorError(
                f"the new output {name!r} has a udp sink, and sockets are opened when a node "
                "starts; leave the sink out"
            )
