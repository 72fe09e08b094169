"""A running node is asked through its folder: a file with a question, a file with an answer.

    control/node.json           what runs there, for who asks: renewed at each swap
    control/request-ID.json     a question; the node takes it away
    control/answer-ID.json      its answer; who asked takes it away

The folder is the owner's alone (0700): one that is a link or somebody else's is refused, one that
is open to others is closed. A question that is a link, no plain file or somebody else's is removed
unread, and said. Who may write there may replace the tape, too. Nothing is in the way of the hot
loop: a thread looks ten times a second.
"""

import json
import os
import secrets
import stat
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from onetape.engine.compile import compiled_count
from onetape.records import OnetapeError, OperatorError
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.edge.swap import swap
from onetape.tape.inspect import is_open

FOLDER, NODE = "control", "node.json"
LOOK_S = 0.1
ANSWER_S = 120.0
REQUEST_BYTES = 1 << 16


class Control:
    """Answers while it is entered; a context manager around a node that runs."""

    def __init__(self, node: EdgeNode) -> None:
        self._node, self._folder = node, node.folder / FOLDER
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def __enter__(self) -> "Control":
        _close(self._folder)
        for path in self._folder.glob("*-*.json*"):  # nobody waits for these any more
            with suppress(OSError):
                path.unlink()
        history, version = _history(self._folder / NODE), self._node.version
        if version in history:
            history = history[: len(history) - history[::-1].index(version)]
        else:
            history = [*history, version]
        self._tell(history)
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._leave.set()
        self._thread.join()

    def _tell(self, history: list[str]) -> None:
        node = self._node
        self._history = history
        facts = {
            "pid": os.getpid(),
            "version": node.version,
            "history": history,
            "since": node.since,
            "sampled": node.versions.sampled,
            "sinks": sorted(node.sinks),
        }
        _write(self._folder / NODE, facts)

    def _run(self) -> None:
        stuck = set[str]()  # what could not even be removed: said once
        while not self._leave.wait(LOOK_S):
            for path in sorted(self._folder.glob("request-*.json")):
                if path.name in stuck:
                    continue
                try:
                    self._take(path)
                except Exception as why:  # whatever lies there, the next question is answered
                    _say(f"{path}: {type(why).__name__}: {why}")
                if os.path.lexists(path):
                    stuck.add(path.name)

    def _take(self, path: Path) -> None:
        """Take a question away and answer it."""
        try:
            request = json.loads(_question(path))
            wrong = "" if isinstance(request, dict) else "it is no JSON object"
        except FileNotFoundError:  # who asked has taken it back
            return
        except (OSError, ValueError) as why:
            wrong = str(why)
        path.unlink(missing_ok=True)
        if wrong:
            wrong = f"{path} is no question to a node, and was removed: {wrong}"
            _say(wrong)
        made = {"error": wrong} if wrong else self._answer(request)
        _write(self._folder / path.name.replace("request-", "answer-"), made)

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        before = compiled_count()
        try:
            made = swap(
                self._node,
                request["version"],
                back=request.get("back", False),
                drop_state=request.get("drop_state", False),
            )
        except OnetapeError as error:
            return {"error": str(error)}
        except Exception as error:  # the node goes on, whatever was wrong with the new version
            return {"error": f"{type(error).__name__}: {error}"}
        history = self._history
        back = request.get("back", False) and made.version in history
        self._tell(history[:-1] if back else [*history, made.version])
        return vars(made) | {"compiled": compiled_count() - before}


def facts_of(folder: Path) -> dict[str, Any]:
    """What runs on the tape in `folder`; OperatorError if nothing does."""
    try:
        facts = _read(folder / FOLDER / NODE)
    except (OSError, ValueError) as why:
        raise OperatorError(f"{folder / FOLDER / NODE} cannot be read: {why}") from None
    if not isinstance(facts, dict) or not is_open(str(folder)):
        raise OperatorError(
            f"no node runs on {folder}; start one with onetape run PIPELINE --tape {folder}, or go "
            "on with --resume"
        )
    return facts


def ask(folder: Path, request: dict[str, Any], timeout_s: float = ANSWER_S) -> dict[str, Any]:
    """Ask the node and wait for its answer; OperatorError with what it refused."""
    key = secrets.token_hex(6)
    question, answer = (folder / FOLDER / f"{what}-{key}.json" for what in ("request", "answer"))
    _write(question, request)
    began_s = time.monotonic()
    while not answer.exists():
        if time.monotonic() - began_s > timeout_s or not is_open(str(folder)):
            question.unlink(missing_ok=True)
            raise OperatorError(f"the node on {folder} gave no answer; look at what it says")
        time.sleep(0.01)
    found = _read(answer) or {}
    answer.unlink(missing_ok=True)
    if "error" in found:
        raise OperatorError(found["error"])
    return found


def _close(folder: Path) -> None:
    """Make the folder, or see that the one that is there is the owner's alone."""
    if not os.path.lexists(folder):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        what = "no folder" if not stat.S_ISDIR(found.st_mode) else f"of user {found.st_uid}"
        raise OperatorError(
            f"{folder} is {what}: who may write there may tell the node what to run; expected a "
            "folder of the user that runs the node. Remove it, and start again"
        )
    if found.st_mode & 0o077:
        folder.chmod(0o700)


def _history(path: Path) -> list[str]:
    """The versions that ran before, as far as they are known."""
    try:
        found = _read(path)
        history = [] if found is None else found.get("history")
        if isinstance(history, list) and all(isinstance(name, str) for name in history):
            return history
        wrong = f"history is {history!r}"
    except (OSError, ValueError, AttributeError) as why:
        wrong = str(why)
    _say(f"{path} cannot be read, and is made anew: {wrong}; --rollback knows no version before")
    return []


def _question(path: Path) -> bytes:
    """What a file says. OSError: it is not the owner's, or a link, or no plain file."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid not in (os.getuid(), 0):
            raise PermissionError(f"it is no plain file of user {os.getuid()}")
        return os.read(fd, REQUEST_BYTES)
    finally:
        os.close(fd)


def _say(what: str) -> None:
    print(f"onetape: {what}", file=sys.stderr)


def _write(path: Path, facts: dict[str, Any]) -> None:
    partial = path.with_suffix(".json.partial")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w") as out:
        out.write(json.dumps(facts))
    partial.replace(path)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())  # type: ignore[no-any-return]
    except FileNotFoundError:
        return None
