"""Is this the run that the tape was made by? A tape may only go on with the input it has begun.

The frames on the tape stand for the beginning of the file; the run goes on with the chunk after
them. With another file, another framing or another midnight it would be a tape of two days.
"""

import hashlib
from datetime import date
from pathlib import Path
from typing import Any

from onetape.connect.itch_file import ItchFile
from onetape.engine.graph import Pipeline
from onetape.engine.planner import Plan, plan
from onetape.engine.settings import settable, with_settings
from onetape.records import OperatorError
from onetape.runtimes.course import Versions
from onetape.runtimes.manifest import read_result
from onetape.tape.layout import read_facts

DIGESTED_BYTES = 1 << 20  # at the file's beginning, and at its end


def origin_of(file: ItchFile, chunk_bytes: int) -> dict[str, Any]:
    """What a manifest says of the file a tape is made from. Reads 2 MiB of it at most."""
    size = file.path.stat().st_size
    with open(file.path, "rb") as stream:
        digest = hashlib.sha256(stream.read(DIGESTED_BYTES))
        stream.seek(max(size - DIGESTED_BYTES, 0))
        digest.update(stream.read(DIGESTED_BYTES))
    return {
        "file": str(file.path.resolve()),
        "size_bytes": size,
        "sha256_of_ends": digest.hexdigest(),
        "chunk_bytes": chunk_bytes,
    }


def same_run(
    pipeline: Pipeline,
    feed: str,
    file: ItchFile,
    tape: Path,
    chunk_bytes: int,
    day: date | None,
) -> dict[str, Any] | None:
    """What the run came to if it is complete, else None; `file` takes the tape's midnight.

    day     as the user gave it, if they did: it must be the tape's

    OperatorError: the tape was made by another pipeline, from another file or for another date.
    """
    if not (tape / "manifest").exists():
        raise OperatorError(f"{tape} holds no tape to go on with; leave out --resume to begin one")
    was = read_facts(str(tape)).manifest
    planned = plan(pipeline, {feed: file.framing})
    begun, given = was.get("origin", {}), origin_of(file, chunk_bytes)
    # Content decides, and a file may have moved; a tape that does not tell content has the path.
    told = [name for name in ("size_bytes", "sha256_of_ends") if name in begun] or ["file"]
    differs = [name for name in [*told, "chunk_bytes"] if begun.get(name) != given[name]]
    if differs or was.get("framing", {}).get(feed) != file.framing:
        raise OperatorError(
            f"{tape} was made from {begun.get('file', 'a live feed')} "
            f"({begun.get('size_bytes', 'size unknown')} bytes), and --file {file.path} is not "
            f"that ({given['size_bytes']} bytes); give the same file, or a new folder as --tape"
        )
    if planned.driver not in Versions(tape, was).drivers:
        raise OperatorError(made_by_another(tape, was, planned))
    if day is not None and was["midnight_ns"] != file.midnight_ns:
        raise OperatorError(
            f"{tape} was made for another date than --date {day}; leave out --date to go on with "
            "the tape's, or give a new folder as --tape"
        )
    file.midnight_ns = was["midnight_ns"]
    return read_result(tape)


def made_by_another(tape: Path, was: dict[str, Any], planned: Plan) -> str:
    """What to say where no version on a tape is this one."""
    if differ := other_settings(was, planned):
        said = ", ".join(f"{name} was {then}, is {now}" for name, (then, now) in differ.items())
        give = " ".join(f"--set {name}={then}" for name, (then, _) in differ.items())
        return (
            f"{tape} was made by this pipeline with other settings: {said}; give those that it was "
            f"made with ({give}), or a new folder as --tape"
        )
    return (
        f"{tape} was made by another pipeline (driver {was.get('driver')}, this one is "
        f"{planned.driver}); give the one that made it, or a new folder as --tape"
    )


def other_settings(was: dict[str, Any], planned: Plan) -> dict[str, tuple[int, int]]:
    """{"Operator.setting": (the tape's, this one's)} where only settings differ, else {}.

    was  the tape's manifest. With its settings this pipeline comes to its driver, or it is another.
    """
    then = {
        f"{entry['name']}.{name}": value
        for entry in was.get("operators", [])
        for name, value in entry.get("settings", {}).items()
    }
    differ = {
        f"{operator}.{name}": (then[f"{operator}.{name}"], value)
        for operator, settings in settable(planned.pipeline).items()
        for name, value in settings.items()
        if then.get(f"{operator}.{name}", value) != value
    }
    if not differ:
        return {}
    with_them = with_settings(planned.pipeline, {name: then for name, (then, _) in differ.items()})
    return differ if plan(with_them, planned.framing).driver == was.get("driver") else {}
