"""What stood in a file or a folder, as a digest; and whether it still does.

A digest reads everything (some seconds a GB); a look again only what has another size or time.
"""

import hashlib
from pathlib import Path
from typing import Any

from onetape.records import OperatorError


class Missing(OperatorError):
    """An input or an output is not there."""


def facts_of(folder: Path, name: str) -> dict[str, Any]:
    """{"bytes", "mtime_ns", "sha256"} of a file, or of all files of a folder with their names.

    Of what is not a path of this machine (s3://..., kafka:...) nothing is known: {}.
    """
    if is_away(name):
        return {}
    path = folder / name
    seen = _seen(path)
    if path.is_file():
        return seen | {"sha256": _sha256(path)}
    every = hashlib.sha256()
    for one in _files(path):
        every.update(f"{one.relative_to(path)}\0{_sha256(one)}\n".encode())
    return seen | {"sha256": every.hexdigest()}


def differs(folder: Path, name: str, facts: dict[str, Any]) -> str:
    """ "is gone", "has changed", or "" if `name` is as `facts` say."""
    if not facts:
        return ""
    try:
        if _seen(folder / name) == {k: v for k, v in facts.items() if k != "sha256"}:
            return ""
        return "has changed" if facts_of(folder, name)["sha256"] != facts["sha256"] else ""
    except Missing:
        return "is gone"


def is_away(name: str) -> bool:
    return "://" in name or name.startswith("kafka:")


def _seen(path: Path) -> dict[str, Any]:
    """What is known without reading: of a folder, the sum and the newest."""
    if not path.exists():
        raise Missing(f"{path} is missing")
    stats = [one.stat() for one in ([path] if path.is_file() else [path, *_files(path)])]
    sizes = stats if path.is_file() else stats[1:]
    return {
        "bytes": sum(one.st_size for one in sizes),
        "mtime_ns": max(one.st_mtime_ns for one in stats),
    }


def _files(path: Path) -> list[Path]:
    return sorted(one for one in path.rglob("*") if one.is_file())


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
