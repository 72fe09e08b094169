"""Look at a tape: what it holds, its frames as lines, and whether it is what was written.

Only reads; works beside a live writer, up to its durable end. All functions return data or lines.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from onetape.compiled import frame
from onetape.native import files
from onetape.records.errors import IntegrityError, OperatorError
from onetape.tape import checkpoint, layout
from onetape.tape.reader import (
    Frame,
    durable_end,
    first_offset,
    frames,
    read_segments,
)
from onetape.tape.recovery import recover
from onetape.tape.segment import open_segment

KINDS = {
    getattr(frame, name): name
    for name in ("DATA", "TICK", "MANIFEST", "SKIP", "END", "CONTROL", "SENT", "READ", "PAD")
}
PREVIEW_BYTES = 48
SHOWN_LETTERS = 60  # of a value of the manifest; all of it: --json


def ls(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What a tape consists of. Looks at headers only: cheap, and no proof of anything.

    Where several versions ran on it, its frames are read for the places where they took over.
    """
    path = os.path.abspath(folder)
    facts = layout.read_facts(path)
    mark = durable_end(path, facts)
    segments = []
    for index in layout.segments_of(path):
        segment = open_segment(path, facts, index)
        begins = index * facts.segment_bytes
        used = min(max(mark.position - begins, 0), facts.segment_bytes)
        segments.append(
            {
                "segment": index,
                "first_offset": first_offset(segment) if used else None,
                "durable_bytes": used,
                "problem": segment.problem,
            }
        )
    return {
        "folder": path,
        "tape_id": f"{facts.tape_id:016x}",
        "is_open": is_open(path),
        "epoch": mark.epoch,
        "first_offset": facts.start_offset,
        "durable_offset": mark.offset,
        "durable_position": mark.position,
        "segment_bytes": facts.segment_bytes,
        "segments": segments,
        "checkpoints": checkpoint.offsets(path),
        "versions": versions(path, facts),
        "manifest": facts.manifest,
    }


def versions(path: str, facts: layout.Facts) -> list[dict[str, Any]]:
    """The versions of the pipeline that ran on a tape, each with the first frame that it ran.

    None as the version: the tape is damaged from that frame on, and what ran there is not known.
    """
    if not (first := facts.manifest.get("version")):
        return []
    found: list[dict[str, Any]] = [{"version": first, "offset": facts.start_offset}]
    kept = os.path.join(path, layout.VERSIONS)
    if not os.path.isdir(kept) or len(os.listdir(kept)) < 2:
        return found
    offset = facts.start_offset
    try:
        for buffer, begin, end in read_segments(path, facts.start_offset):
            at = int(frame.next_control(buffer, begin, end))
            while at < end:
                size = int(frame.frame_length(buffer, at))
                text = bytes(buffer[at + frame.HEADER_BYTES : at + frame.HEADER_BYTES + size])
                offset = int(frame.frame_offset(buffer, at))
                if said := json.loads(text).get("swap"):
                    found.append({"version": said, "offset": offset})
                at = int(frame.next_control(buffer, at + int(frame.frame_bytes(size)), end))
    except IntegrityError:  # `verify` says what it is
        found.append({"version": None, "offset": offset})
    return found


def ls_lines(found: dict[str, Any]) -> Iterator[str]:
    """`ls` for a person."""
    first, end = found["first_offset"], found["durable_offset"]
    yield f"tape {found['tape_id']}, epoch {found['epoch']}" + (
        ", being written" if found["is_open"] else ""
    )
    yield (
        f"frames {first} to {end - 1} durable, {found['durable_position']} bytes"
        if (end > first)
        else "no frames"
    )
    for segment in found["segments"]:
        start = segment["first_offset"]
        yield (
            f"segment {segment['segment']}: {segment['durable_bytes']} bytes"
            + ("" if start is None else f" from frame {start}")
            + ("" if segment["problem"] is None else f"; {segment['problem']}")
        )
    for offset in found["checkpoints"]:
        yield f"checkpoint before frame {offset}"
    for one in found["versions"]:
        name = one["version"]
        yield (
            f"version {name[:12]} from frame {one['offset']} on"
            if name
            else f"versions after frame {one['offset']}: not known, the tape is damaged"
        )
    for name, value in sorted(found["manifest"].items()):
        said = json.dumps(value, sort_keys=True)
        more = "..." if len(said) > SHOWN_LETTERS else ""
        yield f"  {name:14s} {said[:SHOWN_LETTERS]}{more}"


def cat(
    folder: str | os.PathLike[str],
    *,
    start_offset: int | None = None,
    count: int | None = None,
    kinds: set[int] | None = None,
    preview_bytes: int = PREVIEW_BYTES,
    as_json: bool = False,
) -> Iterator[str]:
    """A line for each frame: from `start_offset` (None: the first kept), `count` of these kinds."""
    path = os.path.abspath(folder)
    facts = layout.read_facts(path)
    if start_offset is None:
        start_offset = facts.start_offset
    end = durable_end(path, facts).offset
    if start_offset > end:
        raise OperatorError(
            f"--from was {start_offset}; the tape holds the frames {facts.start_offset} to "
            f"{end - 1}"
        )
    for header, payload in frames(folder, start_offset):
        if kinds is not None and header.kind not in kinds:
            continue
        if count is not None and count <= 0:
            return
        count = None if count is None else count - 1
        part = payload[:preview_bytes]
        if as_json:
            said = header._asdict() | {"kind": _kind(header), "payload": preview(part)}
            yield json.dumps(said | {"is_whole": len(part) == len(payload)}, sort_keys=True)
        else:
            more = " ..." if len(part) < len(payload) else ""
            yield (
                f"{header.offset:>10} {_kind(header):<8} {_where(header):<10} "
                f"{moment(header.ts_recv_ns)} {header.length_bytes:>7} bytes  {preview(part)}{more}"
            ).rstrip()


def _where(header: Any) -> str:
    """The source and, of several lines, which: 'source 0', 'source 0b'; or the output."""
    source, line = header.source_id & 255, header.source_id >> 8
    if header.kind == frame.SENT:
        return f"output {source}"
    return f"source {source}" + (chr(ord("a") + line) if line else "")


def verify(
    folder: str | os.PathLike[str], progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Check every durable byte of a tape, its checkpoints and its code.

    `problems` is empty if all is what was written. `torn_bytes` behind the end are no problem:
    nobody was promised them, and the next opening cuts them (None: the tape is being written,
    and is checked up to its durable end). OperatorError if there is no tape.
    """
    path = os.path.abspath(folder)
    facts = layout.read_facts(path)
    mark = durable_end(path, facts)
    _, notes = layout.read_watermark(path, facts)
    is_live = is_open(path)
    problems, checked, torn = [], 0, None
    try:
        if is_live:
            for _, begin, end in read_segments(path, facts.start_offset):
                checked += end - begin
                if progress is not None:
                    progress(checked, mark.position)
        else:
            found = recover(path, facts, progress=progress)
            checked, torn = found.scanned_bytes, found.torn_bytes
    except IntegrityError as why:
        problems.append(str(why))
    for offset in checkpoint.offsets(path):
        try:
            checkpoint.check(path, offset)
        except IntegrityError as why:
            problems.append(str(why))
    code = os.path.join(path, layout.CODE)
    for name in sorted(files.disk.listdir(code)):
        digest = hashlib.sha256(layout.read_file(os.path.join(code, name))).hexdigest()
        if digest != name and not name.endswith(".new"):
            problems.append(f"{code}/{name}: its text has hash {digest}, expected its own name")
    return {
        "folder": path,
        "frames": mark.offset - facts.start_offset,
        "checked_bytes": checked,
        "torn_bytes": torn,
        "notes": notes,
        "swaps": len([v for v in versions(path, facts)[1:] if v["version"]]),
        "problems": problems,
    }


def verify_lines(found: dict[str, Any]) -> Iterator[str]:
    """`verify` for a person."""
    for problem in found["problems"]:
        yield f"DAMAGED {problem}"
    for note in found["notes"]:
        yield f"note: {note}"
    if found["torn_bytes"]:
        yield (
            f"note: {found['torn_bytes']} torn bytes behind the end, promised to nobody; "
            "the next opening cuts them"
        )
    if not found["problems"]:
        swaps = (
            f", {found['swaps']} swap{'s' * (found['swaps'] > 1)} of versions"
            if found["swaps"]
            else ""
        )
        yield f"ok: {found['frames']} frames, {found['checked_bytes']} bytes checked{swaps}"


def is_open(folder: str) -> bool:
    """Does a writer have the tape open?"""
    try:
        fd = files.disk.open(os.path.join(folder, layout.LOCK), os.O_RDONLY)
    except OSError:
        return False
    try:
        return not files.disk.lock(fd)
    finally:
        files.disk.close(fd)


def moment(ts_ns: int) -> str:
    """Nanoseconds since 1970 as UTC text, to the nanosecond."""
    seconds, ns = divmod(ts_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ns:09}Z"


def preview(payload: bytes) -> str:
    """The payload as text where it is printable ASCII, else as hex."""
    if payload.isascii() and payload.decode("ascii").isprintable():
        return payload.decode("ascii")
    return payload.hex()


def _kind(header: Frame) -> str:
    return KINDS.get(header.kind, str(header.kind))
