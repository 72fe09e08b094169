"""What a job is: a command, the key it is done once for, and how it is run.

    # day.toml
    name = "day"
    key = "yesterday"          # or "today" (both UTC), or any text
    command = ["onetape", "run", "standard", "--file", "{key}.itch", "--tape", "tapes/{key}"]
    inputs = ["{key}.itch"]    # must be there; their digests go into the record
    outputs = ["tapes/{key}"]  # must be there when the command has exited with 0
    retries = 3                # attempts after the first
    backoff = "30s"            # before the second attempt; then twice as long, at most an hour
    timeout = "2h"             # of one attempt

{key} is the key. The command runs in the file's folder, and paths are relative to it.
"""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from onetape.records import DeclarationError, OperatorError
from onetape.records.options import unknown
from onetape.records.types import parse_duration_ns

ONCE = "once"
WORD = re.compile(r"\w[\w.+=:-]*", re.ASCII)  # of names and keys: they name files too
BACKOFF_MAX_S = 3600.0


@dataclass(frozen=True, slots=True)
class Job:
    """A command with all that is said of it; `{key}` has been put in."""

    name: str
    command: tuple[str, ...]
    folder: Path
    key: str = ONCE
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    retries: int = 0
    backoff: str = "10s"
    timeout: str = "0s"  # none

    @property
    def title(self) -> str:
        return f"{self.name} {self.key}"

    @property
    def timeout_s(self) -> float | None:
        return parse_duration_ns(self.timeout) / 1e9 or None

    def backoff_s(self, failed: int) -> float:
        """How long to wait when so many attempts have failed."""
        return min(parse_duration_ns(self.backoff) / 1e9 * 2 ** (failed - 1), BACKOFF_MAX_S)


def make_job(
    name: str,
    command: Sequence[str],
    *,
    key: str = ONCE,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    retries: int = 0,
    backoff: str = "10s",
    timeout: str = "0s",
    folder: Path = Path(),
) -> Job:
    """A job of checked values; OperatorError names the one that cannot be."""
    key = key_of(key)
    for what, word in (("name", name), ("key", key)):
        if not isinstance(word, str) or not WORD.fullmatch(word):
            raise OperatorError(f"a job's {what} was {word!r}; letters, digits and ._+=:- do")
    lists = {"command": command, "inputs": inputs, "outputs": outputs}
    for what, words in lists.items():
        if isinstance(words, str) or not all(isinstance(word, str) for word in words):
            raise OperatorError(f"{what} was {words!r}; expected a list of texts, one a word")
    if not command:
        raise OperatorError(f"the job {name} has no command: onetape job run {name} -- COMMAND ...")
    if type(retries) is not int or retries < 0:
        raise OperatorError(f"retries was {retries!r}; expected a whole number, 0 or more")
    for what, text in (("backoff", backoff), ("timeout", timeout)):
        try:
            parse_duration_ns(str(text))
        except DeclarationError as error:
            raise OperatorError(f"{what}: {error}") from None
    filled = {what: tuple(w.replace("{key}", key) for w in words) for what, words in lists.items()}
    return Job(
        name=name,
        key=key,
        folder=folder.resolve(),
        retries=retries,
        backoff=str(backoff),
        timeout=str(timeout),
        **filled,
    )


def read_job(path: Path, **over: Any) -> Job:
    """The job of a TOML file; `over` goes before what the file says."""
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise OperatorError(f"{path}: not TOML: {error}") from None
    known = [field.name for field in fields(Job) if field.name != "folder"]
    lacks = [name for name in ("name", "command") if name not in said]
    if lacks:
        raise OperatorError(f"{path} has no {lacks[0]}; a job file has {', '.join(known)}")
    if odd := unknown("a job file", [name for name in said if name != "folder"], known):
        raise OperatorError(f"{path}: {odd}")
    try:
        return make_job(**(said | over | {"folder": path.parent}))
    except OperatorError as error:
        raise OperatorError(f"{path}: {error}") from None


def key_of(text: str, today: date | None = None) -> str:
    """The key itself; "today" and "yesterday" are dates (UTC), which crontabs cannot say."""
    ago = {"today": 0, "yesterday": 1}.get(text)
    if ago is None:
        return text
    return ((today or datetime.now(UTC).date()) - timedelta(days=ago)).isoformat()
