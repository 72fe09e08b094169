"""The folder of a tape, and the bytes of its small files.

    segment-00000000.tape   4 KiB header, then `segment_bytes` of the tape: frames, then zeros
    watermark               two slots 4 KiB apart, written in turn: how far all is durable
    manifest                what this tape is: one line of JSON, one of its checksum
    code/<sha256>           sources named by manifests, by the hash of their text
    versions/<sha256>.json  versions of the pipeline that ran on it
    checkpoints/            see `checkpoint`
    lock                    held by the one writer

Tape position p is byte `SEGMENT_HEADER_BYTES + p % segment_bytes` of segment `p // segment_bytes`.
All numbers are little-endian. Every file but `code` carries a checksum and, where a file of
another tape could be mistaken for it, the tape's id.
"""

import hashlib
import json
import os
import re
import struct
from errno import ENOENT
from typing import Any, NamedTuple

import numpy as np

from onetape.compiled.crc32c import crc32c
from onetape.native import files
from onetape.records.errors import IntegrityError, OperatorError

FORMAT = 1
SEGMENT_HEADER_BYTES = 4096
SLOT_BYTES = 48
SLOT_SPACING = 4096
WATERMARK_BYTES = 2 * SLOT_SPACING
VERSIONS = "versions"  # the code of each version that ran, by its name
MANIFEST, WATERMARK, LOCK, CODE, CHECKPOINTS = (
    "manifest",
    "watermark",
    "lock",
    "code",
    "checkpoints",
)

_MAGIC = 0x31455041_54454E4F  # "ONETAPE1"
_SEGMENT = struct.Struct("<6q")  # magic, tape id, index, segment_bytes, epoch, crc32c; then zeros
_SLOT = struct.Struct("<6q")  # tape id, sequence, position, offset, epoch, crc32c


class Facts(NamedTuple):
    """What the file `manifest` says."""

    tape_id: int
    segment_bytes: int
    start_segment: int  # the first one kept
    start_offset: int  # of its first frame
    manifest: dict[str, Any]


class Watermark(NamedTuple):
    """Everything before `position` (frames with an offset below `offset`) is durable."""

    sequence: int
    position: int
    offset: int
    epoch: int


def checksum(data: bytes) -> int:
    """CRC-32C of some small bytes, without loading the compiler."""
    return int(crc32c.twin(0, np.frombuffer(data, np.uint8), 0, len(data)))


def is_version(name: str) -> bool:
    """Can a file in `versions/` be one, by its name?"""
    return re.fullmatch("[0-9a-f]{64}[.]json", name) is not None


def segment_path(folder: str, index: int) -> str:
    return os.path.join(folder, f"segment-{index:08d}.tape")


def segments_of(folder: str) -> list[int]:
    """Numbers of the segment files that are there, in order."""
    names = files.disk.listdir(folder)
    found = [n[8:-5] for n in names if n.startswith("segment-") and n.endswith(".tape")]
    return sorted(int(n) for n in found if n.isdecimal())


def segment_header(facts: Facts, index: int, epoch: int) -> bytes:
    body = _SEGMENT.pack(_MAGIC, facts.tape_id, index, facts.segment_bytes, epoch, 0)[:40]
    return (body + struct.pack("<q", checksum(body))).ljust(SEGMENT_HEADER_BYTES, b"\0")


def segment_header_problem(facts: Facts, index: int, header: bytes) -> str | None:
    """What is wrong with a segment's header, or None."""
    if len(header) < SEGMENT_HEADER_BYTES:
        return f"its header has {len(header)} of {SEGMENT_HEADER_BYTES} bytes"
    magic, tape_id, number, segment_bytes, _, found = _SEGMENT.unpack_from(header)
    expected = checksum(header[:40])
    if found != expected or magic != _MAGIC:
        return f"its header's checksum was {found:08x}, expected {expected:08x}"
    if header[_SEGMENT.size :].strip(b"\0"):
        return "its header has bytes where zeros were written"
    if tape_id != facts.tape_id:
        return f"it belongs to tape {tape_id:016x}, not to {facts.tape_id:016x}"
    if number != index:
        return f"it is segment {number}, under the name of segment {index}"
    if segment_bytes != facts.segment_bytes:
        return f"it is for {segment_bytes} bytes, the tape's segments have {facts.segment_bytes}"
    return None


def slot(tape_id: int, mark: Watermark) -> bytes:
    body = _SLOT.pack(tape_id, *mark, 0)[:40]
    return body + struct.pack("<q", checksum(body))


def read_watermark(folder: str, facts: Facts) -> tuple[Watermark | None, list[str]]:
    """The newer valid slot (None: neither is), and what is wrong with the others.

    A slot that was being written when the power went is damaged too, and then the other one is
    what had been promised: one bad slot alone is no reason to stop.
    """
    for _ in range(3):  # beside a live writer a slot may be caught half-written
        try:
            data = read_file(os.path.join(folder, WATERMARK))
        except FileNotFoundError:
            return None, [f"the file {WATERMARK} is missing"]
        marks, problems = [], []
        for n in range(2):
            body = data[n * SLOT_SPACING : n * SLOT_SPACING + SLOT_BYTES].ljust(SLOT_BYTES, b"\0")
            tape_id, *mark, found = _SLOT.unpack(body)
            if found == checksum(body[:40]) and tape_id == facts.tape_id:
                marks.append(Watermark(*mark))
            else:
                problems.append(f"slot {n} of the file {WATERMARK} is damaged")
        if marks:
            return max(marks), problems
    return None, problems


def write_watermark(folder: str, facts: Facts, mark: Watermark) -> None:
    """Write both slots, one after the other, so that either alone names this epoch."""
    fd = files.disk.open(os.path.join(folder, WATERMARK), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if files.disk.size(fd) < WATERMARK_BYTES:
            write_all(fd, bytes(WATERMARK_BYTES), 0)
        for step in range(2):
            now = mark._replace(sequence=mark.sequence + step)
            write_all(fd, slot(facts.tape_id, now), (now.sequence & 1) * SLOT_SPACING)
            files.disk.fsync(fd)
    finally:
        files.disk.close(fd)


def read_facts(folder: str) -> Facts:
    """Read the file `manifest`; OperatorError where there is no tape."""
    try:
        text = read_file(os.path.join(folder, MANIFEST))
    except OSError as why:
        raise OperatorError(
            f"{folder} is not a tape: {why.strerror}: {MANIFEST}; name the folder that a "
            "recording made (onetape run ... --tape DIR)"
        ) from None
    return facts_of(text, f"{folder}/{MANIFEST}")


def facts_of(text: bytes, path: str) -> Facts:
    """What a file `manifest` says; `path` is where it came from."""
    line, _, rest = text.partition(b"\n")
    expected = f"crc32c {checksum(line):08x}\n".encode()
    if rest != expected:
        raise IntegrityError(
            f"{path}: its second line was {rest!r}, expected {expected!r}: the file "
            "is not what was written; restore it from a copy"
        )
    facts = json.loads(line)
    if facts["format"] != FORMAT:
        raise OperatorError(
            f"{path} has tape format {facts['format']}, this version of onetape reads {FORMAT}; "
            "open it with the version that wrote it"
        )
    return Facts(
        tape_id=int(facts["tape_id"], 16),
        segment_bytes=facts["segment_bytes"],
        start_segment=facts["start_segment"],
        start_offset=facts["start_offset"],
        manifest=facts["manifest"],
    )


def write_facts(folder: str, facts: Facts) -> None:
    body = {"format": FORMAT, **facts._asdict(), "tape_id": f"{facts.tape_id:016x}"}
    line = json.dumps(body, sort_keys=True).encode()
    replace_file(os.path.join(folder, MANIFEST), line + f"\ncrc32c {checksum(line):08x}\n".encode())


def store_code(folder: str, text: str) -> str:
    """Keep a source under the hash of its text; returns the hash."""
    name = hashlib.sha256(text.encode()).hexdigest()
    if name not in files.disk.listdir(os.path.join(folder, CODE)):
        replace_file(os.path.join(folder, CODE, name), text.encode())
    return name


def read_file(path: str) -> bytes:
    fd = files.disk.open(path, os.O_RDONLY)
    try:
        return read_all(fd, files.disk.size(fd), 0)
    finally:
        files.disk.close(fd)


def read_all(fd: int, count: int, at: int) -> bytes:
    """`count` bytes from `at` on; fewer where the file ends."""
    parts = []
    while count > 0:
        part = files.disk.pread(fd, count, at)
        if not part:
            break
        parts.append(part)
        at += len(part)
        count -= len(part)
    return b"".join(parts)


def write_all(fd: int, data: Any, at: int) -> None:
    """Write all of `data`, in as many calls as that takes."""
    view = memoryview(data).cast("B")
    while len(view):
        done = files.disk.pwrite(fd, view, at)
        view = view[done:]
        at += done


def replace_file(path: str, data: bytes) -> None:
    """Put `data` under this name for good, or leave what was there: never something between."""
    replace_with(path, [data])


def replace_with(path: str, parts: Any) -> None:
    """`replace_file`, from parts that need not be in memory at once."""
    fresh = path + ".new"
    try:
        fd = files.disk.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            at = 0
            for part in parts:
                write_all(fd, part, at)
                at += len(part)
            files.disk.fsync(fd)
        finally:
            files.disk.close(fd)
        files.disk.replace(fresh, path)
    except OSError:
        remove(fresh)
        raise
    sync_folder(os.path.dirname(path))


def remove(path: str) -> None:
    """Unlink the file if it is there."""
    try:
        files.disk.unlink(path)
    except OSError as why:
        if why.errno != ENOENT:
            raise


def sync_folder(folder: str) -> None:
    """Make the names in a folder survive a power cut."""
    fd = files.disk.open(folder, os.O_RDONLY)
    try:
        files.disk.fsync(fd)
    finally:
        files.disk.close(fd)
