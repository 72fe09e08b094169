"""`onetape run --udp`: a pipeline live on the network, until its feed ends or somebody ends it."""

import json
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

from onetape.connect.itch_file import midnight_ns
from onetape.engine.digest import digests_of, state_digest
from onetape.engine.graph import Pipeline
from onetape.runtimes.account import account, lines_of
from onetape.runtimes.delivery import Delivery
from onetape.runtimes.edge import live
from onetape.runtimes.edge.control import Control
from onetape.runtimes.edge.hiccup import HiccupMeter
from onetape.runtimes.edge.network import ASKED, Network
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.manifest import write_result
from onetape.runtimes.progress import Progress
from onetape.runtimes.run.into_tape import follow_swaps
from onetape.runtimes.run.tables_first import begin_with, items_first

EVERY_S = 1.0  # between snapshots
PAUSE_S, IDLE_PAUSE_S = 0.02, 0.1  # between drains; a ring takes 650 000 rows a second meanwhile
NAP_NS = 20_000_000  # of a node without anything to do: each waking costs some 30 us
SHOWN_S = 0.25
_KEPT = ("sources", "lines", "kernel_drops", "latency_ns", "rerequest", "unanswered")


def run_network(
    pipeline: Pipeline,
    network: Network,
    tape: Path,
    *,
    feed: str,
    trading_date: date,
    out: Path | None = None,
    seconds: float | None = None,
    is_quiet: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Listen until the venue ends the session, `seconds` have passed, or Ctrl-C; returns facts.

    Said on stderr when it happens: messages lost, a line that is silent, requests that nobody
    answers. A status line shows the rest.
    """
    with ExitStack() as stack:
        if not is_quiet:
            where = ", ".join(str(receiver.address) for receiver in network.receivers)
            said = "what comes waits there until the pipeline is ready"
            print(f"sockets are open at {where}; {said}", file=sys.stderr, flush=True)
        progress = Progress(quiet=is_quiet)
        stack.callback(progress.close)
        with progress.compiling():
            node = EdgeNode(
                pipeline,
                tape,
                framing={feed: "moldudp64"},
                midnight_ns=midnight_ns(trading_date),
                origin={"lines": [str(r.address) for r in network.receivers]},
                wait_max_ns=NAP_NS,
                **network.options(),
                **options,
            )
        session = _Session(node, network, feed, is_quiet)
        session.delivery = stack.enter_context(
            Delivery(
                pipeline,
                out=out,
                symbols=node.engine.feed_state(feed)["symbols"],
                durable=node.durable_offset,
                folder=tape,
            )
        )
        follow_swaps(node, session.digests, session.delivery)
        if options.get("resume"):
            take = session.delivery.take if session.delivery else None
            for line in node.recover(session.digests, take):
                print(f"onetape: {line}", file=sys.stderr)
        session.remember()
        begin_with(node, items_first(pipeline), session.take)
        session.hiccups = stack.enter_context(HiccupMeter(NAP_NS))
        stack.enter_context(node)
        stack.enter_context(Control(node))
        if not is_quiet:
            print(f"listening at {where}; Ctrl-C ends it", file=sys.stderr, flush=True)
        ended_by = session.run(seconds)
        facts = session.end(ended_by)
        for line in session.troubles():
            print(f"onetape: {line}", file=sys.stderr)
    facts["delivered"] = session.delivery.told()
    facts["rows_waiting"] = session.delivery.waiting()
    return facts


class _Session:
    """One run: what is drained, shown and counted while the node runs."""

    def __init__(self, node: EdgeNode, network: Network, feed: str, is_quiet: bool) -> None:
        self.node, self.network, self.feed, self.is_quiet = node, network, feed, is_quiet
        self.digests = digests_of(node.plan)
        self.delivery: Delivery | None = None
        self.hiccups: HiccupMeter | None = None
        self.requests = Requests(node)
        self._said: dict[str, str] = {}  # troubles that were said and are not over
        self._unwritten, self._live_trouble, self._told = 0, "", set[str]()
        self._is_tty = sys.stderr.isatty() and not is_quiet

    def remember(self) -> None:
        """What the tape brought, before the node starts: it is neither new nor a rate."""
        self._messages_before = self.node.engine.counts().events
        self._lost = int(self.node.engine.feed_state(self.feed)["gap_messages"])

    def run(self, seconds: float | None) -> str:
        """Drain until the end; says what ended it."""
        self._began_s = time.perf_counter()
        written_s = shown_s = 0.0
        before = (self._began_s, self._messages_before)
        try:
            while True:
                is_idle = not self.take(self.node.drain())
                now_s = time.perf_counter()
                if now_s - shown_s >= SHOWN_S:
                    self.requests.look()
                    before, shown_s = self._show(before), now_s
                if now_s - written_s >= EVERY_S:
                    written_s, snapshot = now_s, self._snapshot()
                    self._write(snapshot)
                    self._say_silence(snapshot)
                if self._has_ended():
                    return "end of session"
                if seconds is not None and now_s - self._began_s >= seconds:
                    return "time"
                time.sleep(IDLE_PAUSE_S if is_idle else PAUSE_S)
        except KeyboardInterrupt:
            return "Ctrl-C"

    def _has_ended(self) -> bool:
        """The venue has said the end, and nothing before it is missing."""
        feed = self.node.engine.feed_state(self.feed)
        # In this order: while a frame is being run, the end is known before the gap behind it is.
        return bool(feed["ended"] and self.node.is_idle() and not feed["gap_open"])

    def end(self, ended_by: str) -> dict[str, Any]:
        """Stop the loop, make all durable, and say what the run came to."""
        if ended_by == "end of session":
            self.node.push_end()
        self.take(self.node.stop())
        elapsed_s = time.perf_counter() - self._began_s
        self.node.tape.sync()
        self._show((0.0, 0), last=True)
        self.requests.look()
        snapshot = self._snapshot()
        self._write(snapshot)
        facts = {
            "messages": snapshot["events"],
            "messages_before": self._messages_before,
            "rows": snapshot["rows"],
            **account(self.node.engine),
            "elapsed_s": round(elapsed_s, 6),
            "ended_by": ended_by,
            "digests": {name: digest.hexdigest() for name, digest in self.digests.items()},
            "state_digest": state_digest(self.node.engine),
            "losses": live.losses(snapshot),
            **{key: snapshot[key] for key in _KEPT},
            **self.node.statistics(),
        }
        facts["snapshots_failed"] = self._unwritten
        if self.delivery is not None:
            self.delivery.finish()
        write_result(self.node.folder, facts)
        return facts

    def _write(self, snapshot: dict[str, Any]) -> None:
        self._live_trouble = live.write(self.node.folder, snapshot)
        self._unwritten += bool(self._live_trouble)

    def troubles(self) -> list[str]:
        """What is wrong and was not said before; it ends nothing."""
        found = [*self.node.troubles(), *filter(None, [self._live_trouble])]
        found += self.delivery.tend() if self.delivery is not None else []
        new = [line for line in found if line not in self._told]
        self._told.update(new)
        return new

    def take(self, blocks: Iterable[Any]) -> bool:
        """Whether there was anything to take."""
        name = None
        for name, rows, origins in blocks:
            self.digests[name].update(rows, origins)
            if self.delivery is not None:
                self.delivery.take(name, rows, origins)
        return name is not None

    def _snapshot(self) -> dict[str, Any]:
        unanswered = self.requests.unanswered
        return live.snapshot(self.node, self.network, self.hiccups, unanswered=unanswered)

    def _say_silence(self, snapshot: dict[str, Any]) -> None:
        """A line when a line falls silent or requests stay without answer, and when it is over."""
        silent = live.lines_silent(snapshot)
        troubles = {f"line {name}": f"is silent: {said}" for name, said in silent.items()}
        if unanswered := live.unanswered_text(snapshot):
            troubles["re-requests"] = unanswered
        for what, said in troubles.items():
            if what not in self._said:
                self._say(f"{what}: {said}" if what == "re-requests" else f"{what} {said}")
        for what in self._said.keys() - troubles.keys():
            self._say(f"{what}: there is something again")
        self._said = troubles

    def _show(self, before: tuple[float, int], last: bool = False) -> tuple[float, int]:
        """The status line; a loss gets a line of its own, terminal or not."""
        feed = self.node.engine.feed_state(self.feed)
        now_s, messages = time.perf_counter(), int(feed["messages"])
        lost = int(feed["gap_messages"])
        if lost > self._lost:
            self._say(
                f"lost {lost - self._lost:,} messages before {int(feed['next_sequence']):,}: "
                f"nobody sent them again in time; all books of {self.feed} are stale from here on"
            )
            self._lost = lost
        for line in self.troubles() if not self.is_quiet else ():
            self._say(line)
        if self._is_tty:
            if last:
                print("\r\033[K", end="", file=sys.stderr, flush=True)
            else:
                rate = (messages - before[1]) / max(now_s - before[0], 1e-9)
                print(f"\r\033[K{self._status(feed, rate)}", end="", file=sys.stderr, flush=True)
        return now_s, messages

    def _status(self, feed: Any, rate: float) -> str:
        state = "stale" if feed["stale"] else ("waiting" if feed["gap_open"] else "whole")
        silent = [what for what in self._said if what.startswith("line ")]
        if len(silent) == len(self.network.receivers):
            state += ", silent"
        return (
            f"{int(feed['messages']):,} messages, {rate:,.0f} a second; {state}: "
            f"{int(feed['gaps']):,} gaps, {live.missing(feed):,} messages missing, "
            f"{int(feed['gap_messages']):,} lost, "
            f"{int(feed['duplicates']):,} duplicates, {int(feed['refused'].sum()):,} refused, "
            f"{self.network.drops():,} dropped by the kernel"
        )

    def _say(self, line: str) -> None:
        if not self.is_quiet:
            start = "\r\033[K" if self._is_tty else ""
            print(f"{start}onetape: {line}", file=sys.stderr, flush=True)


class Requests:
    """How many requests for missing messages have been made since anybody answered one."""

    def __init__(self, node: EdgeNode) -> None:
        self.unanswered = 0
        self._node = node
        self._answers = self._asked = self._asked_then = 0

    def look(self) -> None:
        """To be called now and then: a request counts when it is as old as the look before."""
        asked = self._node.statistics()["asked"]
        lines = self._node.line_statistics()
        answers = sum(line["packets"] for line in lines if line["name"] == ASKED)
        if answers != self._answers:
            self._answers, self._asked_then = answers, asked
        before = self._asked if answers else asked
        self.unanswered, self._asked = max(before - self._asked_then, 0), asked


def text_of(facts: dict[str, Any]) -> str:
    """What a run came to, for a person."""
    latency = facts["latency_ns"]["service"]
    before = facts["messages_before"]
    also = f" (and {before:,} that were on the tape)" if before else ""
    lines = [
        f"{facts['messages'] - before:,} events{also} in {facts['elapsed_s']:.1f} s, ended by "
        f"{facts['ended_by']};"
        f" service p50 {latency['p50'] / 1000:.1f} us, p99 {latency['p99'] / 1000:.1f} us a frame"
    ]
    for line in facts["lines"]:
        answers = " of answers" if line["name"] == ASKED else ""
        lines.append(f"  line {line['name']:6s} {line['packets']:>12,} datagrams{answers}")
    for name, feed in facts["sources"].items():
        lines.append(f"  {name}: {gaps_text(feed)}")
    if unanswered := live.unanswered_text(facts):
        lines.append(f"  {unanswered}")
    losses = ", ".join(f"{name} {count:,}" for name, count in facts["losses"].items())
    lines.append(f"  {losses or 'nothing lost, refused or late'}")
    lines += lines_of(facts)[1:]  # the first says the same of a file
    for name, digest in facts["digests"].items():
        lines.append(f"  {name:12s} {facts['rows'][name]:>12,} rows   digest {digest}")
    lines += [f"  {said}" for said in facts["delivered"]]
    return "\n".join(lines)


def gaps_text(feed: dict[str, Any]) -> str:
    """'12 gaps, 11 of them repaired; 40 messages lost; 3 duplicates'."""
    repaired = "" if feed["repaired"] is None else f", {feed['repaired']:,} of them repaired"
    gaps = f"{feed['gaps']:,} gaps{repaired}; {feed['lost']:,} messages lost"
    return f"{gaps if feed['gaps'] else 'no gaps'}; {feed['duplicates']:,} duplicates"


def print_facts(facts: dict[str, Any], as_json: bool) -> None:
    print(json.dumps(facts) if as_json else text_of(facts))
