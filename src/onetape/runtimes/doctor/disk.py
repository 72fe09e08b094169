"""`onetape doctor`, disk: whether a tape in this folder is durable, and how soon."""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from onetape.native.files import disk
from onetape.runtimes.doctor.finding import BETTER, MISSING, OK, Finding
from onetape.tape import checkpoint
from onetape.tape.layout import MANIFEST

FREE_BYTES_FEW = 4 << 30
BLOCK = bytes(4096)
BLOCKS = 256
TRIED_S = 2.0
COMMIT_MS_MANY = 2.0
# Where fdatasync does not say what it says elsewhere.
FORGETFUL = {
    "tmpfs": "memory: a tape here is gone with the machine",
    "ramfs": "memory: a tape here is gone with the machine",
    "overlay": "a container's own layer: a tape here is gone with the container",
    "nfs": "a network file system: every commit crosses the network",
    "nfs4": "a network file system: every commit crosses the network",
    "9p": "shared from a host: a commit may not reach its disk",
    "fuse": "a program between tape and disk: a commit may not reach it",
}


def disk_checks(folder: Path) -> list[Callable[[], Finding]]:
    checks = [_file_system, _free, _commit]
    if (folder / MANIFEST).exists():
        checks.append(_checkpoints)
    return [partial(check, folder) for check in checks]


def _file_system(folder: Path) -> Finding:
    kind = file_system_of(folder)
    if kind is None:
        return Finding("file system", OK, "not told on this platform")
    why = FORGETFUL.get(kind) or FORGETFUL.get(kind.partition(".")[0])
    if why is None:
        return Finding("file system", OK, kind)
    return Finding("file system", BETTER, f"{kind}, {why}", "onetape doctor --tape /a/local/disk")


def file_system_of(folder: Path) -> str | None:
    """The kind of the innermost mount that holds the folder; None where there is no /proc."""
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return None
    resolved, found, depth = folder.resolve(), None, -1
    for line in lines:
        point, kind = line.split()[1:3]
        mount = Path(point.replace("\\040", " "))
        if resolved.is_relative_to(mount) and len(mount.parts) >= depth:
            found, depth = kind, len(mount.parts)
    return found


def _free(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB"
    if free > FREE_BYTES_FEW:
        return Finding("free space", OK, found)
    return Finding("free space", BETTER, found, "onetape doctor --tape /a/larger/disk")


def _commit(folder: Path) -> Finding:
    """What the journal does for each commit, on a file of its own: write 4 KiB, fdatasync."""
    took_ms: list[float] = []
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            disk.allocate(file.fileno(), BLOCKS * len(BLOCK))
            disk.fsync(file.fileno())
            stop_s = time.perf_counter() + TRIED_S
            while len(took_ms) < BLOCKS and time.perf_counter() < stop_s:
                began_ns = time.perf_counter_ns()
                disk.pwrite(file.fileno(), BLOCK, len(took_ms) * len(BLOCK))
                disk.fdatasync(file.fileno())
                took_ms.append((time.perf_counter_ns() - began_ns) / 1e6)
    except OSError as why:
        return Finding("commit", MISSING, f"cannot write here: {why.strerror}", "chmod u+w .")
    if len(took_ms) < 2:
        return Finding("commit", BETTER, f"one took {took_ms[0]:.0f} ms", "use another disk")
    cuts = statistics.quantiles(took_ms, n=100, method="inclusive")
    found = f"p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms (4 KiB, fdatasync)"
    if cuts[49] < COMMIT_MS_MANY:
        return Finding("commit", OK, found)
    found += "; rows are durable that much later, not sent later"
    return Finding("commit", BETTER, found, "use a disk with power-loss protection (NVMe)")


def _checkpoints(folder: Path) -> Finding:
    """Of a tape: can the next start take the newest?"""
    latest = checkpoint.latest_valid(folder, use=checkpoint.check)
    there = checkpoint.offsets(folder)
    if latest.damaged:
        fix = f"onetape checkpoints {folder} --verify"
        return Finding("checkpoints", BETTER, latest.damaged[0], fix)
    if not there:
        return Finding("checkpoints", OK, "none: a start runs the tape from its first frame")
    newest = latest.checkpoint
    size = f"{newest.state_bytes() / 1e6:.1f} MB of state"
    return Finding("checkpoints", OK, f"{len(there)}, the newest before {newest.offset}, {size}")
