"""A tape open for appending: folder, ring, journal writer and allocator put together.

    with Tape.create(folder, {"pipeline": "demo"}) as tape:
        tape.append(0, DATA, b"...")      # from Python; the hot loop uses tape.ring, tape.control
        tape.sync()                       # until all of it survives a power cut

Opening is recovering, always by the same path: find the end, cut a torn tail, make what is left
durable, raise the epoch, and put a manifest frame on the tape that names the code which reads on
from here. Two threads run beside the one that appends: the compiled writer, and a Python thread
that allocates segments. Neither is on the path of an event.
"""

import json
import os
import secrets
import threading
import time
from collections.abc import Callable
from errno import EIO
from types import TracebackType
from typing import Any, Self

import numpy as np

from onetape.compiled.atomics import peek, poke
from onetape.compiled.frame import MANIFEST
from onetape.native import files
from onetape.native.clock import clock_ns
from onetape.records.errors import OperatorError
from onetape.tape import layout, recovery, ring, writer
from onetape.tape.allocator import Allocator
from onetape.tape.folder import make_folder, take_lock

SEGMENT_BYTES = 1 << 26
SEGMENTS_AHEAD = 2
LOOK_S = 0.05  # how often the allocator looks; a segment ahead covers what arrives meanwhile
LOOK_IDLE_S = 0.2  # when nothing came since it last looked
POLL_S = 0.0001


class Tape:
    """The one writer of a tape. Make one with `create` or `open`."""

    folder: str
    facts: layout.Facts
    recovered: recovery.Recovered
    epoch: int
    ring: Any  # uint8[R] and
    control: Any  # int64[]: see `onetape.tape.ring`; for the hot loop
    _lock: int | None

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike[str],
        manifest: dict[str, Any] | None = None,
        *,
        code: dict[str, str] | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        **options: Any,
    ) -> Self:
        """Make an empty tape in a folder that is empty or not there, and open it.

        manifest       anything JSON can say; what a replay has to know, besides `code`
        code           {name: source}: stored by hash, and named in the manifest frame
        segment_bytes  a multiple of ring_bytes; the tape grows and is dropped in these steps
        options        those of `open`
        """
        path = os.path.abspath(folder)
        _check_sizes(segment_bytes, options.get("ring_bytes", ring.RING_BYTES))
        facts = layout.Facts(secrets.randbits(63), segment_bytes, 0, 0, manifest or {})
        make_folder(path, facts)
        return cls.open(path, manifest, code=code, **options)

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        manifest: dict[str, Any] | None = None,
        *,
        code: dict[str, str] | None = None,
        ring_bytes: int = ring.RING_BYTES,
        commit_interval_ns: int = 0,
        idle_sleep_ns: int = 4_000_000,
        segments_ahead: int = SEGMENTS_AHEAD,
        since: tuple[int, int] | None = None,
        progress: Callable[[int, int], None] | None = None,
        accept_scanned_end: bool = False,
        threads: bool = True,
    ) -> Self:
        """Recover a tape and open it for appending.

        manifest, code      as for `create`; None: what the tape already says
        commit_interval_ns  least time from one group commit to the next; 0: as the disk allows
        idle_sleep_ns       longest sleep of the writer while nothing arrives: at most so much is
                            added to the first commit after a pause (0.2 % of a core at 4 ms)
        segments_ahead      how many segments are allocated beyond the one being written
        since, progress, accept_scanned_end   see `recovery.recover`
        threads             False: nothing runs beside the caller, who calls `turn` (simulation)

        OperatorError: no tape, or another process has it open. IntegrityError: the tape is not
        what was written; nothing is changed then. Raises the epoch: two openings never share one.
        """
        self = cls.__new__(cls)
        self.folder = path = os.path.abspath(folder)
        _check_sizes(layout.read_facts(path).segment_bytes, ring_bytes)
        lock = self._lock = take_lock(path)
        try:
            facts = layout.read_facts(path)
            self.recovered = found = recovery.recover(
                path, facts, since=since, progress=progress, accept_scanned_end=accept_scanned_end
            )
            recovery.settle(path, facts, found)
            self.epoch = found.watermark.epoch + 1
            mark = layout.Watermark(
                found.watermark.sequence + 1, found.position, found.offset, self.epoch
            )
            layout.write_watermark(path, facts, mark)
            self.facts = self._manifest(facts, manifest, code)
            self._start(mark._replace(sequence=mark.sequence + 1), ring_bytes, segments_ahead)
        except OSError as why:
            files.disk.close(lock)
            raise OperatorError(
                f"{path}: cannot be opened: {why}; nothing on it has changed that a later opening "
                "would miss: check the disk and open it again"
            ) from why
        except BaseException:
            files.disk.close(lock)
            raise
        try:
            self._job[writer.INTERVAL_NS] = commit_interval_ns
            self._job[writer.IDLE_MAX_NS] = max(idle_sleep_ns, writer.IDLE_MIN_NS)
            if threads:
                self._start_threads()
            self.append(0, MANIFEST, self._manifest_frame())
        except Exception:
            self.close()
            raise
        return self

    # --- appending, from Python -------------------------------------------------------------------

    def append(
        self, source_id: int, kind: int, payload: bytes, ts_recv_ns: int | None = None
    ) -> int:
        """Put a frame on the tape; returns its offset. Not beside a hot loop: one thread appends.

        Waits while the writer is behind. OperatorError if the disk is full or has failed, or the
        payload is too long: the frame was then not taken.
        """
        data = np.frombuffer(bytearray(payload or b"\0"), np.uint8)
        ts_recv_ns = clock_ns() if ts_recv_ns is None else ts_recv_ns
        while True:
            offset = int(self.control[ring.OFFSET])
            status = int(
                ring.append(
                    self.ring, self.control, source_id, kind, ts_recv_ns, data, 0, len(payload)
                )
            )
            if status >= 0:
                return offset
            if status != ring.RING_FULL:
                raise self.refusal(status, len(payload))
            self._wait()

    def refusal(self, status: int, length: int = 0) -> OperatorError:
        """The error for a negative status of `ring.append`."""
        if status == ring.REFUSED_FULL:
            return OperatorError(
                f"{self.folder}: no room for more frames ({self._allocator.refused}); this one was "
                "not taken, all earlier ones are safe. Free some space on that disk: the run "
                "waits for it and goes on"
            )
        if status == ring.TOO_LONG:
            return OperatorError(
                f"{self.folder}: a payload of {length} bytes; a frame of this tape holds at most "
                f"{ring.payload_max(self.ring)}: split it"
            )
        return self._fault() or OperatorError(f"{self.folder}: append returned {status}")

    def manifest(self, manifest: dict[str, Any], code: dict[str, str] | None = None) -> int:
        """Name the code that reads on from here (a swap); returns the frame's offset."""
        self.facts = self._manifest(self.facts, manifest, code)
        return self.append(0, MANIFEST, self._manifest_frame())

    # --- durability -------------------------------------------------------------------------------

    @property
    def next_offset(self) -> int:
        """Offset of the next frame."""
        return int(self.control[ring.OFFSET])

    @property
    def durable_offset(self) -> int:
        """Frames with a smaller offset survive a power cut."""
        return int(peek(self.control, ring.DURABLE_OFFSET))

    @property
    def durable_position(self) -> int:
        return int(peek(self.control, ring.DURABLE))

    def sync(self, timeout_s: float | None = None) -> int:
        """Wait until every frame appended so far is durable; returns `durable_offset`.

        OperatorError if the writer has stopped on an error of the disk, or after `timeout_s`.
        """
        head = int(peek(self.control, ring.HEAD))
        began_s = time.monotonic()
        while self.durable_position < head:
            if timeout_s is not None and time.monotonic() - began_s > timeout_s:
                raise OperatorError(
                    f"{self.folder}: not durable after {timeout_s} s: at position "
                    f"{self.durable_position}, expected {head}; the disk is slow or hangs"
                )
            self._wait()
        return self.durable_offset

    def turn(self) -> int:
        """What the threads do, once, in the caller: for simulation. Bytes committed."""
        if self._fault() is None:
            self._allocator.look()
        return int(writer.write_turn(*self._arguments()))

    def commit_latencies_ns(self) -> Any:
        """int64[n]: how long the newest group commits took, at most 4096 of them."""
        count = int(peek(self.control, ring.COMMITS))
        return self._latencies[: min(count, writer.LATENCIES)].copy()

    def drop_before(self, offset: int) -> list[int]:
        """Remove whole segments of frames older than `offset`; see `retention.drop_before`."""
        from onetape.tape import retention

        self.facts, dropped = retention.drop_before(self.folder, self.facts, offset)
        return dropped

    def close(self) -> None:
        """Make all durable, give back space allocated ahead, release the tape."""
        if self._lock is None:
            return
        try:
            self._stop_threads()
            fault = self._fault()
            if fault is not None:
                self._allocator.abandon()
                raise fault
            self._allocator.close()
        finally:
            files.disk.close(int(self._job[writer.WATERMARK_FD]))
            files.disk.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None
    ) -> None:
        try:
            self.close()
        except OperatorError:
            if why is None:
                raise

    # --- inside -----------------------------------------------------------------------------------

    def _start(self, mark: layout.Watermark, ring_bytes: int, ahead: int) -> None:
        self.ring, self.control = ring.new_ring(ring_bytes)
        self._fds, self._job, self._mark, self._latencies = writer.new_job()
        for word in (ring.HEAD, ring.WRITTEN, ring.DURABLE):
            self.control[word] = mark.position
        for word in (ring.OFFSET, ring.DURABLE_OFFSET):
            self.control[word] = mark.offset
        self.control[ring.EPOCH] = self.epoch
        self._job[writer.SEGMENT_BYTES] = self.facts.segment_bytes
        self._job[writer.TAPE_ID] = self.facts.tape_id
        self._job[writer.SEQUENCE] = mark.sequence
        self._job[writer.SEALED_OFFSET] = mark.offset
        path = os.path.join(self.folder, layout.WATERMARK)
        self._job[writer.WATERMARK_FD] = files.disk.open(path, os.O_RDWR)
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()
        self._allocator = Allocator(
            self.folder,
            self.facts,
            control=self.control,
            fds=self._fds,
            epoch=self.epoch,
            ahead=min(max(ahead, 0), writer.FILES - 2),
        )
        self._allocator.look()

    def _arguments(self) -> list[Any]:
        return [self.ring, self.control, self._fds, self._job, self._mark, self._latencies]

    def _start_threads(self) -> None:
        self.control[ring.STOP] = 1
        writer.write_loop(*self._arguments())  # nothing to do yet: compiles it, in this thread
        self.control[ring.STOP] = 0
        for name, target in (
            ("tape writer", self._write),
            ("tape allocator", self._allocate_ahead),
        ):
            thread = threading.Thread(target=target, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _stop_threads(self) -> None:
        poke(self.control, ring.STOP, 1)
        for thread in self._threads[:1]:
            thread.join()
        self._closing.set()
        for thread in self._threads[1:]:
            thread.join()
        if not self._threads:
            self.turn()

    def _write(self) -> None:
        try:
            writer.write_loop(*self._arguments())
        except BaseException:
            poke(self.control, ring.FAULT, EIO)  # nobody may wait for a writer that is gone
            raise

    def _allocate_ahead(self) -> None:
        seen, pause_s = -1, LOOK_S
        while not self._closing.wait(pause_s):
            self._allocator.look()
            head = int(peek(self.control, ring.HEAD))
            seen, pause_s = head, LOOK_IDLE_S if head == seen else LOOK_S

    def _wait(self) -> None:
        fault = self._fault()
        if fault is not None:
            raise fault
        if self._threads:
            time.sleep(POLL_S)
        elif self.turn() < 0:
            raise self._fault() or AssertionError("a turn failed without a fault")

    def _fault(self) -> OperatorError | None:
        errno = int(peek(self.control, ring.FAULT))
        if errno == 0:
            return None
        what = writer.CALLS[int(self.control[ring.FAULT_CALL])]
        lost = self.next_offset - self.durable_offset
        return OperatorError(
            f"{self.folder}: {what} failed: {os.strerror(errno)}. The journal has stopped and does "
            "not retry: after such an error a second attempt may succeed without having written. "
            f"Frames below {self.durable_offset} are durable, {lost} later ones are not. Check the "
            "disk, then open the tape again"
        )

    def _manifest(
        self, facts: layout.Facts, manifest: dict[str, Any] | None, code: dict[str, str] | None
    ) -> layout.Facts:
        said = dict(facts.manifest if manifest is None else manifest)
        if code is not None:
            said["code"] = {n: layout.store_code(self.folder, text) for n, text in code.items()}
        if said == facts.manifest:
            return facts
        facts = facts._replace(manifest=said)
        layout.write_facts(self.folder, facts)
        return facts

    def _manifest_frame(self) -> bytes:
        said = {
            "epoch": self.epoch,
            "manifest": self.facts.manifest,
            "tape_id": f"{self.facts.tape_id:016x}",
            "torn_bytes_cut": self.recovered.torn_bytes,
        }
        return json.dumps(said, sort_keys=True).encode()


def _check_sizes(segment_bytes: int, ring_bytes: int) -> None:
    if segment_bytes < ring_bytes or segment_bytes % ring_bytes:
        raise OperatorError(
            f"segment_bytes was {segment_bytes}; expected a multiple of ring_bytes, {ring_bytes}"
        )
