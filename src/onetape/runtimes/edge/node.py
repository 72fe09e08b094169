"""A node: the hot loop on its thread, and what stands beside it.

    lines (sockets) --------+
    producer --inbox ring--> hot loop --output rings--> drain() in the caller's thread
                                |  +--datagrams of rows--> whoever listens
                                |
                                +--tape ring--> journal writer --> segments, durable watermark

The caller pushes bytes (or lets a `FileFeeder` do it) and drains rows. The hot loop runs off the
main thread, so Ctrl-C reaches Python at once.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from onetape.compiled.atomics import peek, poke
from onetape.compiled.counts import percentile_ns
from onetape.compiled.frame import DATA, END
from onetape.compiled.ticks import read_ticks
from onetape.engine.digest import OutputDigest
from onetape.engine.engine import Engine, Rows
from onetape.engine.graph import Pipeline
from onetape.engine.layout import LINE
from onetape.engine.planner import Plan, plan
from onetape.native.threads import pin_thread, set_realtime
from onetape.records import OperatorError
from onetape.runtimes.batch import set_midnight
from onetape.runtimes.code import store
from onetape.runtimes.course import Course, Versions, of_sources
from onetape.runtimes.edge import loop, words
from onetape.runtimes.edge.follower import (
    NONE_SAVED,
    OUTPUTS_MAX,
    Follower,
    follow,
    newest,
    put_back,
    sent_of,
)
from onetape.runtimes.edge.lines import Line, new_clocks, new_intake
from onetape.runtimes.edge.outlet import last_sent, send_again
from onetape.runtimes.edge.uploader import Uploader
from onetape.runtimes.manifest import code_of, manifest_of
from onetape.runtimes.run.same import made_by_another
from onetape.tape import checkpoint_keep
from onetape.tape.checkpoint_keep import Retention
from onetape.tape.layout import read_facts
from onetape.tape.reader import read_segments
from onetape.tape.ring import HEAD, LIMIT, OFFSET, RING_FULL, TOO_LONG, WRITTEN, append, new_ring
from onetape.tape.tape import Tape

INBOX_BYTES = 1 << 22
OUTPUT_ROWS = 1 << 16
DRAIN_PAUSE_S = 0.001


class EdgeNode:
    """A pipeline running live on a tape. Use as a context manager.

    folder       of the tape: a new one, unless `resume`
    framing      how the bytes of each feed source are framed
    lines        sockets the loop receives datagrams of sources from
    sinks        {output: fd of a connected UDP socket}: its rows leave at once, as datagrams
    asks         {source: fd of a socket connected to its re-request server}; it is a line too
    wait         what the loop does when there is nothing to do: "spin" (one core, all of it),
                 "yield", or "sleep"
    wait_ns      it looks (lines) or sleeps (files) this long first
    wait_max_ns  it never sleeps longer. The journal does likewise. A datagram wakes it, a frame
                 from Python does not
    live         whether silent sources get tick frames from this machine's clock
    resume       go on with the tape that is there; call `recover` before entering
    checkpoint_every_s   how often a follower saves a checkpoint; 0: never
    retention            which checkpoints are kept
    checkpoints          where they go besides the tape's folder: s3://BUCKET/PREFIX
    commit_every_ns      least time between commits of the journal; 0: as the disk allows
    cpu, priority        keep the loop on this processor; make it real-time (see native/threads.py)
    """

    def __init__(
        self,
        pipeline: Pipeline,
        folder: Path,
        *,
        framing: dict[str, str] | None = None,
        midnight_ns: int = 0,
        lines: Sequence[Line] = (),
        sinks: dict[str, int] | None = None,
        asks: dict[int, int] | None = None,
        wait: str = "sleep",
        wait_ns: int = 50_000,
        wait_max_ns: int = 4_000_000,
        live: bool = False,
        origin: dict[str, Any] | None = None,
        resume: bool = False,
        checkpoint_every_s: float = 0,
        retention: Retention = checkpoint_keep.DEFAULT,
        checkpoints: str | None = None,
        commit_every_ns: int = 0,
        cpu: int | None = None,
        priority: int | None = None,
    ) -> None:
        for node in pipeline.nodes:
            if node.keeping.memory_bytes:
                raise OperatorError(
                    f"{node.name} has memory=: what does not fit is put away on the disk, for "
                    "which the hot loop would have to stop and wait; give it room for all its keys "
                    "(capacity), or say what it forgets (ttl, when_full). ot.run over a file has it"
                )
        uploader = Uploader(checkpoints, folder, retention) if checkpoints else None
        self.plan = plan(pipeline, framing, sampled=bool(lines))
        self.engine = Engine(self.plan, output_rows=OUTPUT_ROWS)
        set_midnight(self.engine, midnight_ns)
        self.folder = folder
        self.lines, self.cpu, self.priority = list(lines), cpu, priority
        self.sinks = dict(sinks or {})
        code = pipeline.code and replace(pipeline.code, driver=self.plan.driver)
        self.version: str = code.name if code else ""  # the one that runs
        self.manifest = manifest_of(self.plan, midnight_ns, origin or {}, self.version)
        self._journal: dict[str, Any] = {
            "idle_sleep_ns": wait_max_ns,
            "commit_interval_ns": commit_every_ns,
        }
        self.tape = self._open() if resume else self._create()
        if code:
            store(folder, code)
        self.versions = Versions(folder, self.manifest, sampled=bool(lines))
        self.versions.add(self.version, self.plan)
        self.when_swapped: list[Callable[[Plan], None]] = []  # in the caller's thread, by `drain`
        self.follower: Follower | None = None
        if checkpoint_every_s:
            self.follower = Follower(
                self._beginning(),
                folder,
                every_s=checkpoint_every_s,
                retention=retention,
                uploader=uploader,
            )
        self.inbox, self.inbox_control = new_ring(INBOX_BYTES)
        self.inbox_control[LIMIT] = 1 << 62  # only the tape's ring has a disk behind it
        self.words = words.new_words()
        self.words[words.WAIT_NS] = self.words[words.NAP_NS] = wait_ns
        self.words[words.WAIT_MAX_NS] = max(wait_ns, wait_max_ns)
        self.words[words.WAIT] = words.STRATEGIES.index(wait)
        self.words[words.TICKS] = int(live)
        self.around = self._surroundings(lines, asks or {})
        self.began = (int(read_ticks()), time.monotonic_ns())  # tells how long a tick is
        self._fault: BaseException | None = None
        self.since = 0  # the frame at which this version took over
        self.is_ending = False
        self.turnover = threading.Lock()  # held from the order of a swap until all have followed
        self._become(self.engine)

    def _become(self, engine: Engine) -> None:
        """This engine is the one that runs, when the node is entered."""
        self.engine, self.plan = engine, engine.plan
        self._undrained = [engine]  # and those of versions before it that have rows left
        run, arguments = loop.build(engine, self.around)
        self.threads = [self.new_thread(engine, lambda: run(*arguments))]

    def _beginning(self, **options: Any) -> Course:
        """The tape from its first frame on; options are those of an Engine."""
        name = self.versions.first
        planned = self.versions.plan(name) if name else self.plan
        engine = Engine(planned, **options)
        set_midnight(engine, self.manifest["midnight_ns"])
        return Course(engine, self.versions, name)

    def _surroundings(self, lines: Sequence[Line], asks: dict[int, int]) -> loop.Surroundings:
        rows, headers, batch, watch = new_intake(lines, asks.values())
        for name in self.sinks:
            if name not in self.plan.outputs:
                known = ", ".join(self.plan.outputs)
                raise OperatorError(f"the pipeline has no output {name!r}; its outputs are {known}")
        asked = [asks.get(n, -1) for n in range(len(self.plan.pipeline.sources))]
        return loop.Surroundings(
            words=self.words,
            inbox=self.inbox,
            inbox_control=self.inbox_control,
            ring=self.tape.ring,
            control=self.tape.control,
            lines=rows,
            headers=headers,
            batch=batch,
            watch=watch,
            clocks=new_clocks(self.plan.pipeline.sources),
            ask_fds=np.array(asked, np.int64),
            **loop.ways_out(self.plan, self.sinks),
        )

    def new_thread(self, engine: Engine, run: Callable[[], Any]) -> threading.Thread:
        """A thread for a hot loop; what it raises stops the node."""

        def guarded() -> None:
            try:
                run()
            except BaseException as why:
                is_told = isinstance(why, OperatorError)
                self._fault = why if is_told else engine.step_error(why)

        return threading.Thread(target=guarded, name="hot-loop", daemon=True)

    def __enter__(self) -> "EdgeNode":
        self.threads[0].start()
        try:
            self.place(self.threads[0])
        except OperatorError as why:
            self._fault = why
            poke(self.words, words.STOP, 2)
        if self.follower is not None:
            self.follower.start()
        return self

    def place(self, thread: threading.Thread) -> None:
        """Keep a loop's thread on its processor, and make it real-time, if that was asked for."""
        if self.cpu is not None:
            pin_thread(self.cpu, thread.native_id)
        if self.priority is not None:
            set_realtime(self.priority, thread.native_id)

    def recover(
        self,
        digests: dict[str, OutputDigest],
        take: Callable[..., None] | None = None,
        delivered: Mapping[str, int] | None = None,
    ) -> list[str]:
        """Bring engine and digests to the end of the tape, before the node is entered.

        Without `take`: the newest checkpoint, and the tape after it. With it every row of the tape
        is made again, from the first frame, and given to `take(name, rows, origins)`; where as many
        were `delivered` of each output as a checkpoint had made, only those behind it. Rows that no
        SENT frame speaks of leave by their sinks, in order, as they are made again; that all is
        durable is said once more. Returns what is to be said about checkpoints that could not be
        used.
        """
        self.tape.sync()
        found, said = None, list[str]()
        if take is None or delivered is not None:
            found, said = newest(self.folder, self.versions.drivers, self.tape.durable_offset)
        sinking = [(k, n) for k, n in enumerate(self.plan.outputs) if n in self.sinks]
        sent = np.zeros(OUTPUTS_MAX, np.int64)
        while True:
            offset = found.offset if found is not None else 0
            sent[:] = sent_of(found, len(sent))
            for buffer, begin, end in read_segments(self.folder, offset):
                last_sent(buffer, begin, end, sent)
            made = found.header["rows"] if found is not None else {}
            had = dict(delivered if delivered is not None else made)
            had |= {name: int(sent[k]) for k, name in sinking}
            if all(had.get(name, 0) >= count for name, count in made.items()):
                break
            found = None  # rows from before the checkpoint were never sent: make them again
        # What others hold of this node's engine, its sources, is what goes on.
        course = self._beginning(output_rows=OUTPUT_ROWS, given=of_sources(self.engine))
        course.when_swapped.append(lambda made: self._passed(made.engine.plan, digests))
        if found is not None:
            course.restore(found)
        self._passed(course.engine.plan, digests)
        if found is not None:
            put_back(found, digests, course.engine.plan)
        self.around.sent[:] = sent[: len(self.around.sent)]
        for buffer, begin, end in read_segments(self.folder, offset):
            for name, rows, origins in course.feed(buffer, begin, end):
                digests[name].update(rows, origins)
                self._send(course.engine, course.engine.plan.outputs.index(name))
                if take is not None:
                    take(name, rows, origins)
        self.words[words.DONE_OFFSET] = self.next_offset()
        if sent.any():  # who heard of a row before the crash may still wait for its mark
            self.words[words.TOLD_OFFSET] = self.tape.durable_offset
        if course.engine.plan.driver != self.plan.driver:
            said.append(
                f"the tape goes on with version {course.name[:12]}, the last one that was deployed "
                "on it; onetape deploy puts another in its place"
            )
        self.version, self.since = course.name, course.since
        self._become(course.engine)
        return said

    def _passed(self, planned: Plan, digests: dict[str, OutputDigest]) -> None:
        """While the tape is run again: rows are of this version from here on."""
        follow(digests, planned)
        was = self.around.sent
        self.around = replace(self.around, **loop.ways_out(planned, self.sinks))
        many = min(len(was), len(self.around.sent))
        self.around.sent[:many] = was[:many]
        for tell in self.when_swapped:
            tell(planned)

    def _send(self, engine: Engine, output: int) -> None:
        """What the loop does after a turn, here for rows that are made again."""
        around, head = self.around, int(engine.heads[output * LINE])
        if around.sink_fds[output] >= 0 and head > around.sent[output]:
            rows = engine.arrays[f"o{output}"]
            send_again(
                self.words,
                around.ring,
                around.control,
                int(around.sink_fds[output]),
                around.packet,
                output,
                rows.view(np.uint8),
                rows.dtype.itemsize,
                around.sent,
                head,
                engine.run,
                around.to_sink,
            )

    def _open(self) -> Tape:
        was = read_facts(str(self.folder)).manifest
        known = Versions(self.folder, was).drivers
        if self.plan.driver not in known:
            raise OperatorError(made_by_another(self.folder, was, self.plan))
        if len(known) > 1:  # the tape says which of them reads on
            self.version, self.manifest = known[self.plan.driver], was
            return Tape.open(self.folder, **self._journal)
        return Tape.open(self.folder, self.manifest, code=code_of(self.plan), **self._journal)

    def _create(self) -> Tape:
        if (self.folder / "manifest").exists():
            raise OperatorError(
                f"{self.folder} holds a tape; give a new folder, or go on with it (--resume)"
            )
        return Tape.create(self.folder, self.manifest, code=code_of(self.plan), **self._journal)

    def __exit__(self, *_: Any) -> None:
        self.close()

    def push(
        self, payload: Any, *, source: int = 0, ts_recv_ns: int | None = None, kind: int = DATA
    ) -> bool:
        """Hand one read of a source to the loop; False while the inbox is full (try again)."""
        now_ns = time.time_ns() if ts_recv_ns is None else ts_recv_ns
        data = np.frombuffer(payload, np.uint8) if len(payload) else _NO_BYTES
        if not data.flags.writeable:
            data = data.copy()  # the compiled signature takes arrays that could be written
        at = append(self.inbox, self.inbox_control, source, kind, now_ns, data, 0, len(data))
        if at == TOO_LONG:
            raise OperatorError(f"a read of {len(data)} bytes is too long for the inbox")
        return bool(at != RING_FULL)

    def push_end(self, source: int = 0) -> bool:
        """The source is complete: its windows close."""
        return self.push(b"", source=source, kind=END)

    def drain(self) -> Iterator[Rows]:
        """Rows made since the last call, per output in order. Raises what stopped the loop."""
        yield from self._rows()
        self._check()

    def _rows(self) -> Iterator[Rows]:
        """In order: a version that was taken over from has ended, its rings are emptied first."""
        while True:
            engine, is_last = self._undrained[0], len(self._undrained) == 1
            yield from engine.drain()
            if is_last:
                return
            self._undrained.pop(0)
            for tell in self.when_swapped:
                tell(self._undrained[0].plan)

    def drain_until_idle(self) -> Iterator[Rows]:
        """Drain until everything pushed so far has been run."""
        while not self.is_idle():
            yield from self.drain()
            time.sleep(DRAIN_PAUSE_S)
        yield from self.drain()

    def is_idle(self) -> bool:
        """Has the loop taken and finished all that is in the inbox?"""
        if not self._is_alive():
            return True
        taken = peek(self.inbox_control, WRITTEN) == peek(self.inbox_control, HEAD)
        return bool(taken and peek(self.words, words.DONE_OFFSET) == self.next_offset())

    def durable_offset(self) -> int:
        """The offset from which on a crash may still take frames back."""
        return self.tape.durable_offset

    def next_offset(self) -> int:
        """Offset the next frame will get."""
        return int(peek(self.tape.control, OFFSET))

    def stop(self) -> Iterator[Rows]:
        """Let the loop finish what is in the inbox, and drain it; then it has ended."""
        yield from self._ending()
        poke(self.words, words.STOP, 1)
        while self._is_alive():
            yield from self._rows()
            time.sleep(DRAIN_PAUSE_S)
        yield from self._rows()
        self._check()

    def _ending(self) -> Iterator[Rows]:
        """From here on no version takes over; one that is about to may need room for rows."""
        while not self.turnover.acquire(blocking=False):
            yield from self._rows()
            time.sleep(DRAIN_PAUSE_S)
        self.is_ending = True
        self.turnover.release()

    def _is_alive(self) -> bool:
        return any(thread.is_alive() for thread in self.threads)

    def close(self) -> None:
        """End the loop without waiting for the inbox; what is on the tape becomes durable."""
        for _ in self._ending():
            pass
        poke(self.words, words.STOP, 2)
        if self.follower is not None:
            self.follower.stop()  # reads the tape
        while self._is_alive():
            for _ in self._rows():
                pass
            time.sleep(DRAIN_PAUSE_S)
        self.tape.close()

    def statistics(self) -> dict[str, int]:
        """Counters of the loop: waits, and how long a frame takes inside the engine."""
        return {
            "frames": int(peek(self.words, words.DONE_OFFSET)),
            "waits_output": int(self.words[words.WAITS_OUTPUT]),
            "waits_tape": int(self.words[words.WAITS_TAPE]),
            "waits_disk_full": int(self.words[words.WAITS_FULL]),
            "sent": int(self.words[words.SENT]),
            "unsent": int(self.words[words.UNSENT]),
            "unlogged": int(self.words[words.UNLOGGED]),
            "asked": int(self.words[words.ASKED]),
            **(self.follower.statistics() if self.follower is not None else NONE_SAVED),
            "service_ns_p50": percentile_ns(self.around.service, 50),
            "service_ns_p99": percentile_ns(self.around.service, 99),
            "to_sink_ns_p50": percentile_ns(self.around.to_sink, 50),
            "to_sink_ns_p99": percentile_ns(self.around.to_sink, 99),
        }

    def troubles(self) -> list[str]:
        """What did not go well and does not change the answer."""
        return self.follower.troubles() if self.follower is not None else []

    def line_statistics(self) -> list[dict[str, Any]]:
        """What each line has brought so far."""
        return [
            {"name": line.name}
            | {name: int(row[name]) for name in ("packets", "batches", "truncated", "errors")}
            | {"bytes": int(row["received_bytes"]), "heard_ns": int(row["heard_ns"])}
            for line, row in zip(self.lines, self.around.lines, strict=True)
        ]

    def go_on_with(
        self, engine: Engine, around: loop.Surroundings, version: str, since: int
    ) -> None:
        """Another version has taken over at frame `since`: see `swap.py`."""
        self.engine, self.plan, self.around = engine, engine.plan, around
        self.version, self.since = version, since
        self._undrained.append(engine)
        self.threads = self.threads[-1:]

    def _check(self) -> None:
        if self._fault is not None:
            raise self._fault
        state = int(peek(self.words, words.STATE))
        if state == words.AT_CAPACITY:
            raise self.engine.capacity_error()
        if state == words.TAPE_FAULT:
            self.tape.sync()  # raises, with the disk's own error
        if state == words.LINE_FAULT:
            why = os.strerror(int(self.words[words.ERRNO]))
            raise OperatorError(f"a line cannot be received from any more: {why}")
        if state == words.FRAME_TOO_LONG:
            raise OperatorError("a frame in the inbox is too long for the tape")


_NO_BYTES = np.zeros(1, np.uint8)[:0]
