"""The code of a pipeline as a value: the file, the modules beside it that it imports, settings.

With it a tape can be replayed after those files have changed, also where several versions ran on
it one after the other. On a tape a version is one file, named by the hash of what is in it.
"""

import hashlib
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onetape.compiled import cache
from onetape.compiled.modules import write
from onetape.engine.graph import Pipeline
from onetape.engine.settings import with_settings
from onetape.records import IntegrityError, OperatorError
from onetape.runtimes.load import STANDARD, load_pipeline
from onetape.tape.layout import VERSIONS, is_version, replace_file

_SAID = set[Path]()  # strange files that were told of


@dataclass(frozen=True)
class Code:
    """What makes a pipeline.

    main      the file that defines `pipeline`, one of `files`; or "standard"
    files     {path from the folder of `main`: text}
    settings  {"Operator.setting": value}, in place of what the files say
    driver    fingerprint of what it comes to on a tape; empty: not planned yet
    """

    main: str
    files: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    driver: str = ""

    def text(self) -> str:
        return json.dumps(vars(self), sort_keys=True, indent=1)

    @property
    def name(self) -> str:
        """The hash of all of it, 64 hex digits."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    def pipeline(self) -> Pipeline:
        """Load it, from a copy of the files in the cache folder; they may be gone or changed."""
        if self.main == STANDARD:
            return with_settings(load_pipeline(STANDARD), self.settings)
        folder = cache.root() / "versions" / self.name[:24]
        for path, text in self.files.items():
            if not (folder / path).exists():
                write(folder / path, text.encode())
            sys.modules.pop(_module(path), None)  # else the import finds that of another version
        before = list(sys.path)
        try:
            pipeline = with_settings(load_pipeline(str(folder / self.main)), self.settings)
        finally:
            sys.path[:] = before
        pipeline.code = self
        return pipeline


def code_at(path: str, settings: dict[str, Any]) -> Code:
    """The code of the pipeline that was just loaded from `path`."""
    if path == STANDARD:
        return Code(STANDARD, settings=settings)
    main = Path(path).resolve()
    files = {main.name: main.read_text("utf-8")}
    package = Path(__file__).resolve().parents[1]
    for name, module in list(sys.modules.items()):
        source = Path(getattr(module, "__file__", None) or "/")
        if source.suffix != ".py" or not source.is_absolute() or package in source.parents:
            continue
        where = os.path.relpath(source, main.parent)
        if _module(where) == name and "site-packages" not in where:
            files[where] = source.read_text("utf-8")
    return Code(main.name, files, settings)


def _module(path: str) -> str:
    """The name a file is imported by, from its folder."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def store(folder: str | Path, code: Code) -> str:
    """Keep a version beside a tape, for good; returns its name."""
    where = Path(folder) / VERSIONS
    where.mkdir(exist_ok=True)
    path = where / f"{code.name}.json"
    if not path.exists():
        replace_file(str(path), code.text().encode())
    return code.name


def stored(folder: str | Path, name: str) -> Code:
    """A version that is kept there. IntegrityError if it is not what was stored."""
    path = Path(folder) / VERSIONS / f"{name}.json"
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise OperatorError(
            f"{path} is not there: the tape switches to a version whose code it does not have; "
            "restore the file from a copy"
        ) from None
    if hashlib.sha256(text.encode()).hexdigest() != name:
        raise IntegrityError(f"{path} is not what was stored: restore the file from a copy")
    return Code(**json.loads(text))


def all_stored(folder: str | Path) -> dict[str, str]:
    """{driver: name} of the versions that are kept beside a tape. What is none is passed over."""
    paths = sorted((Path(folder) / VERSIONS).glob("*.json"))
    for path in paths:
        if not is_version(path.name) and path not in _SAID:
            _SAID.add(path)
            print(
                f"onetape: {path} is no version of the pipeline, and is passed over; remove it",
                file=sys.stderr,
            )
    found = [stored(folder, path.stem) for path in paths if is_version(path.name)]
    return {code.driver: code.name for code in found}
