"""A run into a tape, whatever feeds it: the node, what becomes of its rows, and how it ends.

with ExitStack() as stack:
    run = TapeRun(stack, pipeline, tape, progress=progress, origin=origin)
    run.recover()                   # with resume
    run.begin()
    ...                             # push; run.take(run.node.drain()); run.tell()
    facts = run.end({})
facts |= run.delivered()
"""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from onetape.connect.sinks.taking import OpenableSink
from onetape.engine.digest import OutputDigest, digests_of, state_digest
from onetape.engine.graph import Pipeline
from onetape.engine.planner import Plan
from onetape.records import OperatorError
from onetape.runtimes.account import account
from onetape.runtimes.delivery import Delivery
from onetape.runtimes.edge import live
from onetape.runtimes.edge.control import Control
from onetape.runtimes.edge.follower import follow
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.inputs import symbols_of
from onetape.runtimes.manifest import write_result
from onetape.runtimes.progress import Progress
from onetape.tape.layout import read_facts

SNAPSHOT_S = 1.0
SOON_S = 1.0  # rows are on their way, or it is known why not
Taker = Callable[[str, Any, Any, int], None]


class TapeRun:
    """What is opened is closed with `stack`.

    out, also  sinks beside those of the pipeline: Parquet files in a folder; those of an output
    symbols    of instruments; None: as the feed tells them
    node       what `EdgeNode` is given besides

    takers     are given rows, their origins and the number of the first among all of the output,
               behind the sinks
    """

    def __init__(
        self,
        stack: ExitStack,
        pipeline: Pipeline,
        tape: Path,
        *,
        progress: Progress,
        out: Path | None = None,
        also: Callable[[str], list[OpenableSink]] = lambda name: [],
        symbols: Mapping[int, str] | None = None,
        **node: Any,
    ) -> None:
        self._stack = stack
        stack.callback(progress.close)
        with progress.compiling():
            self.node = EdgeNode(pipeline, tape, **node)
        self.digests = digests_of(self.node.plan)
        self.delivery = stack.enter_context(
            Delivery(
                pipeline,
                out=out,
                also=also,
                symbols=symbols_of(self.node.engine) if symbols is None else symbols,
                durable=self.node.durable_offset,
                folder=tape,
            )
        )
        self.takers: list[Taker] = []
        self._told_s, self._events_before = 0.0, 0
        follow_swaps(self.node, self.digests, self.delivery)

    def recover(self, take: Any = None, delivered: Mapping[str, int] | None = None) -> None:
        """Bring the node to the end of its tape, before `begin`; as `EdgeNode.recover`.

        take  None: the sinks alone are given what is made again
        """
        if take is None and self.delivery:
            take = self.delivery.take
        for line in self.node.recover(self.digests, take, delivered):
            print(f"onetape: {line}", file=sys.stderr)
        self._events_before = self.events

    def begin(self) -> None:
        """From here on the node runs what is pushed, and can be asked and told."""
        self._stack.enter_context(self.node)
        self._stack.enter_context(Control(self.node))
        self._began_s = time.perf_counter()

    @property
    def events(self) -> int:
        """That were run so far."""
        return int(self.node.engine.run["events"][0])

    @property
    def has_ended(self) -> bool:
        """Have all sources?"""
        return bool(self.node.engine.sources["ended"].all())

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self._began_s

    def take(self, made: Iterable[Any]) -> bool:
        """Rows as they leave the node; whether there were any."""
        taken = False
        for name, rows, origins in made:
            first = self.digests[name].rows_count
            self.digests[name].update(rows, origins)
            self.delivery.take(name, rows, origins)
            for taker in self.takers:
                taker(name, rows, origins, first)
            taken = True
        return taken

    def tell(self) -> bool:
        """Once a second, for `onetape top`; whether it was time."""
        now_s = time.perf_counter()
        if now_s - self._told_s < SNAPSHOT_S:
            return False
        self._told_s = now_s
        live.write(self.node.folder, live.snapshot(self.node))
        return True

    def end(self, own: dict[str, Any]) -> dict[str, Any]:
        """Stop the loop, make all durable; the facts of the run, also left beside its tape.

        own  facts of its kind of input
        """
        node = self.node
        self.take(node.stop())
        elapsed_s = self.elapsed_s
        node.tape.sync()
        self.delivery.finish()
        counts = node.engine.counts()
        facts = {
            "messages": counts.events,
            "messages_before": self._events_before,
            "rows": counts.rows,
            **account(node.engine),
            **own,
            "elapsed_s": round(elapsed_s, 6),
            "digests": {name: digest.hexdigest() for name, digest in self.digests.items()},
            "state_digest": state_digest(node.engine),
            **node.statistics(),
        }
        live.write(node.folder, live.snapshot(node))
        write_result(node.folder, facts)
        for line in [*node.troubles(), *self._waits()]:
            print(f"onetape: {line}", file=sys.stderr)
        return facts

    def _waits(self) -> list[str]:
        """Why rows are not delivered, before `close` tries for longer."""
        end_s, said = time.monotonic() + SOON_S, self.delivery.tend()
        while self.delivery.waiting() and not said and time.monotonic() < end_s:
            time.sleep(0.01)
            said = self.delivery.tend()
        return said

    def delivered(self) -> dict[str, Any]:
        """What became of the rows, when all is closed."""
        return {"delivered": self.delivery.told(), "rows_waiting": self.delivery.waiting()}


def follow_swaps(
    node: EdgeNode, digests: dict[str, OutputDigest], delivery: Delivery | None
) -> None:
    """Outputs that a new version brings have a digest, and sinks, before their first row."""

    def swapped(planned: Plan) -> None:
        follow(digests, planned)
        if delivery is not None:
            delivery.follow(planned.pipeline)

    node.when_swapped.append(swapped)


def check_origin(tape: Path, origin: dict[str, Any], same: str) -> dict[str, Any]:
    """The manifest of a tape to go on with; OperatorError: it was fed from something else.

    same  what is to be given again, for the message: "input"
    """
    was = read_facts(str(tape)).manifest
    begun = was.get("origin") or {}
    if begun != origin:
        raise OperatorError(
            f"{tape} was fed from {_words(begun, origin)}, this run from {_words(origin, begun)}; "
            f"go on with the same {same}, or give a new folder as --tape"
        )
    return was


def _words(origin: dict[str, Any], other: dict[str, Any]) -> str:
    """What it is, and where it differs from the other: "kafka fills (encoding json)"."""
    said = [f"{name.replace('_', ' ')} {_plain(value)}" for name, value in origin.items()]
    differs = [other.get(name) != value for name, value in origin.items()]
    more = [text for text, is_other in zip(said[1:], differs[1:], strict=True) if is_other]
    rest = f" ({', '.join(more)})" if more else ""
    return (said[0] if said else "nothing that it says") + rest


def _plain(value: Any) -> str:
    """A value of an origin: its files by their names."""
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return str(value.get("file", "")) if isinstance(value, dict) else str(value)
