"""A job in a process of the engine's own environment: started, watched, ended, its error told."""

import json
import os
import select
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from onetape.records import OperatorError
from onetape.runtimes import environments
from onetape.runtimes.progress import Progress

LOOK_S = 0.2
END_S = 20  # what an engine may take to end when it is asked to


def run_job(
    engine: str, job: dict[str, Any], folder: Path, progress: Progress, events: int
) -> dict[str, float]:
    """Run the job (see `job.py`) to its end: {"warm_s", "start_s", "job_s", "events"}.

    folder  for what is not kept     events  how many there are; 0: not known

    OperatorError: what went wrong, in one line; if that is not enough, where the engine's log is.
    """
    python = environments.find(engine)
    watched = folder / "progress"
    done = np.memmap(watched, np.int64, "w+", shape=job["manifest"]["shards"])
    told: dict[str, Any] = {}
    log_path = folder / "log.txt"
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            [str(python), "-m", "onetape.runtimes.spark.job"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=folder,
            env=environments.variables(python),
            text=True,
            start_new_session=True,  # so that Ctrl-C is ours to pass on, to the JVM too
        )
    assert process.stdin is not None and process.stdout is not None
    try:
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(job | {"engine": engine, "progress": str(watched)}))
            process.stdin.close()
        while True:
            if select.select([process.stdout], [], [], LOOK_S)[0]:
                line = process.stdout.readline()
                if not line:
                    break
                told |= json.loads(line)
            count = int(done.sum())
            progress.update(count, events, count, "events")
        process.wait(END_S)
    finally:
        end(process)
        process.stdout.close()
    if process.returncode or "job_s" not in told:
        raise OperatorError(f"{engine}: {_why(told, log_path, process.returncode)}")
    return told | {"events": int(done.sum())}


def end(process: "subprocess.Popen[str]") -> None:
    """No process of it stays behind."""
    for word in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, word)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
            if word == signal.SIGKILL or not _is_group(process.pid):
                return


def _is_group(pid: int) -> bool:
    """Are there processes of the group?"""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _why(told: dict[str, Any], log: Path, status: int) -> str:
    if told.get("is_ours"):
        return str(told["error"])
    with tempfile.NamedTemporaryFile(prefix="onetape-", suffix=".log", delete=False) as kept:
        kept.write(log.read_bytes())
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    why = told.get("error") or f"it ended with status {status}: {lines[-1] if lines else 'no word'}"
    return f"{why} (all that it said: {kept.name})"
