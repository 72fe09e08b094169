"""ITCH bytes to alerts: the standard pipeline's compiled driver beside the same program in C.

Both read the same simulated day, in frames of 256 KiB made beforehand, and both copy every row and
its origin from output rings to memory. State is fresh in each round; all memory is allocated by
NumPy and touched before the clock starts, for both. Rounds alternate; a figure is the best of its
rounds. Every output is compared byte for byte, rows and origins, in order.

`c` is that program as one writes it; `c_hints` has the driver's hints to memory too (what the next
two messages will need); `c_rows_only` leaves out where each row comes from.

Digests are not part of the timed work; what they cost is told as `digest_ns_per_row`.
"""

import ctypes
import gc
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from onetape.connect.itch_file import open_itch
from onetape.engine.digest import digests_of
from onetape.engine.engine import Engine
from onetape.engine.frames import frames_of
from onetape.engine.layout import DONE, ORIGIN, OUT_FULL
from onetape.records import OperatorError
from onetape.runtimes import batch
from onetape.runtimes.standard import pipeline
from onetape.sim import exchange

FRAME_BYTES = 256 * 1024
INSTRUMENTS, MESSAGES_PER_S = 500, 50_000
FRAMING = {"itch": "length_prefixed"}
CAPACITY = (1 << 22, 1 << 16, 1 << 22, 1 << 16)  # orders, instruments, levels, keys: the pipeline's
SOURCE = Path(__file__).with_name("itch.c")
FLAGS = ("-std=c99", "-O3", "-march=native", "-shared", "-fPIC")

Frames = tuple[Any, list[tuple[int, int]]]  # one buffer, and where each frame in it begins and ends


def run(messages: int = 1_000_000, seed: int = 7, rounds: int = 7) -> dict[str, Any]:
    """Messages a second of both, best of `rounds`; answer_ok: all outputs are equal."""
    frames, midnight_ns = load(simulated_file(messages, seed))
    engine = batch.make_engine(pipeline, FRAMING, midnight_ns)
    sinks = _run_python(engine, frames, [Sink(name, 0) for name in engine.plan.outputs])[1]
    rows = [sink.count for sink in sinks]
    seconds: dict[str, list[float]] = {"python": [], "c": [], "c_rows_only": [], "c_hints": []}
    answer_ok = True
    for _ in range(rounds):
        engine = None
        engine = batch.make_engine(pipeline, FRAMING, midnight_ns)
        touch(*engine.arrays.values())
        taken_s, mine = _run_python(engine, frames, _sinks(engine, rows))
        seconds["python"].append(taken_s)
        for key, program in (
            ("c", CProgram(engine, midnight_ns)),
            ("c_rows_only", CProgram(engine, midnight_ns, "-DROWS_ONLY")),
            ("c_hints", CProgram(engine, midnight_ns, "-DHINTS")),
        ):
            taken_s, theirs = program.run(frames, _sinks(engine, rows))
            seconds[key].append(taken_s)
            answer_ok &= all(
                a.count == b.count
                and _bytes(a.rows) == _bytes(b.rows)
                and (key == "c_rows_only" or _bytes(a.origins) == _bytes(b.origins))
                for a, b in zip(mine, theirs, strict=True)
            )
    count = engine.counts().events
    best = {key: count / min(taken) for key, taken in seconds.items()}
    return {
        "answer_ok": bool(answer_ok and sum(rows) > 0),
        "msgs_per_s": round(best["python"]),
        "c_msgs_per_s": round(best["c"]),
        "ratio": round(best["python"] / best["c"], 4),
        "c_rows_only_msgs_per_s": round(best["c_rows_only"]),
        "c_hints_msgs_per_s": round(best["c_hints"]),
        "messages": count,
        "rounds": rounds,
        "rows": sum(rows),
        "digest_ns_per_row": round(digest_ns_per_row(engine, mine), 2),
    }


# --- the input ----------------------------------------------------------------------------------


def scratch() -> Path:
    """Where benches keep what they can make again."""
    folder = Path(os.environ.get("ONETAPE_BENCH", Path(tempfile.gettempdir()) / "onetape-bench"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def simulated_file(messages: int, seed: int) -> Path:
    """A day of about `messages` messages, made once for each version of the simulation."""
    source = hashlib.sha256()
    for path in sorted(Path(exchange.__file__).parent.glob("*.py")):
        source.update(path.read_bytes())
    path = scratch() / f"day-{messages}-{seed}-{source.hexdigest()[:12]}.itch"
    if not path.exists():
        seconds = messages / MESSAGES_PER_S
        exchange.write_file(
            path,
            seed=seed,
            instruments=INSTRUMENTS,
            seconds=seconds,
            messages_per_s=MESSAGES_PER_S,
            episodes=int(2 * seconds),
        )
    return path


def _bytes(block: Any) -> bytes:
    """The bytes of a block; none where an output has no rows."""
    return b"" if block is None else bytes(block.tobytes())


def load(path: Path) -> tuple[Frames, int]:
    """(all frames of a file in one buffer, the end of the source included; midnight_ns)."""
    file = open_itch(path, trading_date=exchange.TRADING_DATE, chunk_bytes=FRAME_BYTES)
    frames = [buffer[begin:end].copy() for buffer, begin, end in frames_of(file)]
    ends = np.cumsum([len(frame) for frame in frames]).tolist()
    return (np.concatenate(frames), list(zip([0, *ends], ends, strict=False))), file.midnight_ns


def touch(*arrays: Any) -> None:
    """Write to every page, changing nothing: no page is then made while the clock runs."""
    for array in arrays:
        array.reshape(-1).view(np.uint8)[::4096] |= 0


# --- the output ---------------------------------------------------------------------------------


class Sink:
    """Where rows of one output go: memory for all of them, or (size 0) only their count."""

    def __init__(self, name: str, size: int, of: Any = None) -> None:
        self.name = name
        self.count = 0
        self.rows = np.zeros(size, of.dtype) if size else None
        self.origins = np.zeros(size, ORIGIN) if size else None
        if size:
            touch(self.rows, self.origins)

    def take(self, rows: Any, origins: Any) -> None:
        begin, self.count = self.count, self.count + len(rows)
        if self.rows is not None:
            self.rows[begin : self.count] = rows
            self.origins[begin : self.count] = origins


def _sinks(engine: Engine, rows: list[int]) -> list[Sink]:
    outputs = engine.plan.pipeline.outputs.items()
    return [Sink(name, n, stream.of) for (name, stream), n in zip(outputs, rows, strict=True)]


def digest_ns_per_row(engine: Engine, sinks: list[Sink]) -> float:
    """What digests cost where they are asked for, a row of output."""
    best_ns = 0.0
    for _ in range(3):
        digests = digests_of(engine.plan)
        began_s = time.perf_counter()
        for sink in sinks:
            digests[sink.name].update(sink.rows, sink.origins)
        taken_ns = (time.perf_counter() - began_s) * 1e9
        best_ns = min(best_ns or taken_ns, taken_ns)
    return best_ns / sum(sink.count for sink in sinks)


# --- the two programs ---------------------------------------------------------------------------


def _run_python(engine: Engine, frames: Frames, sinks: list[Sink]) -> tuple[float, list[Sink]]:
    by_name = {sink.name: sink for sink in sinks}
    buffer, spans = frames
    gc.collect()
    began_s = time.perf_counter()
    for begin, end in spans:
        for name, rows, origins in engine.feed(buffer, begin, end):
            by_name[name].take(rows, origins)
    return time.perf_counter() - began_s, sinks


class Ring(ctypes.Structure):
    """An output ring as itch.c knows it."""

    _fields_ = (
        ("rows", ctypes.c_void_p),
        ("origins", ctypes.c_void_p),
        ("head", ctypes.c_int64),
        ("tail", ctypes.c_int64),
        ("size", ctypes.c_int64),
    )


class CProgram:
    """The C program with fresh state and with rings of the same size as the engine's."""

    def __init__(self, engine: Engine, midnight_ns: int, *flags: str) -> None:
        self._code = ctypes.CDLL(str(compiled(*flags)))
        self._code.itch_bytes.restype = ctypes.c_int64
        capacity = (ctypes.c_int64 * 4)(*CAPACITY)
        size_bytes = self._code.itch_bytes(capacity)
        self._block = np.zeros(size_bytes + 64, np.uint8)
        at = self._block.ctypes.data
        self._at = ctypes.c_void_p(at + -at % 64)
        self._code.itch_open(self._at, capacity, ctypes.c_int64(midnight_ns))
        self._rings = (Ring * len(engine.plan.outputs)).from_address(self._at.value or 0)
        self._rows, self._origins = [], []
        for k, ring in enumerate(self._rings):
            rows, origins = (np.zeros_like(engine.arrays[f"{name}{k}"]) for name in "og")
            ring.rows, ring.origins, ring.size = rows.ctypes.data, origins.ctypes.data, len(rows)
            self._rows.append(rows)
            self._origins.append(origins)
        touch(self._block, *self._rows, *self._origins)

    def run(self, frames: Frames, sinks: list[Sink]) -> tuple[float, list[Sink]]:
        buffer, spans = frames
        code, at, data = self._code, self._at, ctypes.c_void_p(buffer.ctypes.data)
        gc.collect()
        began_s = time.perf_counter()
        for begin, end in spans:
            code.itch_begin(at, ctypes.c_int64(begin))
            status = OUT_FULL
            while status == OUT_FULL:
                status = code.itch_turn(at, data, ctypes.c_int64(end))
                self._drain(sinks)
            if status != DONE:
                raise OperatorError(f"the C program came to its capacity (status {status})")
        return time.perf_counter() - began_s, sinks

    def _drain(self, sinks: list[Sink]) -> None:
        for k, ring in enumerate(self._rings):
            rows, origins = self._rows[k], self._origins[k]
            while ring.tail < ring.head:
                at = ring.tail & (len(rows) - 1)
                count = min(ring.head - ring.tail, len(rows) - at)
                sinks[k].take(rows[at : at + count], origins[at : at + count])
                ring.tail += count


def compiled(*flags: str) -> Path:
    """itch.c as a library, compiled once for this source, these flags and this processor."""
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        raise OperatorError(
            f"no C compiler {compiler!r} on the path: install one (Debian: apt install gcc) or "
            "name it with CC=..., to compare with the C program"
        )
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout
    name = hashlib.sha256(SOURCE.read_bytes() + version + " ".join(FLAGS + flags).encode())
    library = scratch() / f"itch-{name.hexdigest()[:12]}.so"
    if not library.exists():
        temporary = library.with_suffix(f".{os.getpid()}")
        command = [compiler, *FLAGS, *flags, str(SOURCE), "-o", str(temporary)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OperatorError(f"{' '.join(command)} failed:\n{done.stderr}")
        os.replace(temporary, library)
    return library
