"""One execution of a job: attempts with a limit of time, waits between them, signals passed on.

The command is a process group of its own, whose output goes straight into the log, so that nothing
of it is lost when this process is; what comes is shown from there. It is killed with this process
(Linux), and it holds the lease, so that what may survive of it is seen.
"""

import codecs
import ctypes
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from onetape.runtimes.job.digests import Missing, differs, facts_of
from onetape.runtimes.job.job import Job

TIMED_OUT, NOT_RUNNABLE, NOT_FOUND = 124, 126, 127  # as timeout(1) and env(1) exit
NO_INPUT, CHANGED_INPUT, NO_OUTPUT = 66, 65, 73  # as sysexits.h has them
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
TOLD = (*ENDING, signal.SIGUSR1, signal.SIGUSR2)
GRACE_S = 10.0  # between SIGTERM and SIGKILL of a command that is out of time
LOOK_S = 0.1
PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class Outcome:
    state: str  # done, failed, timeout, stopped
    exit_code: int
    attempts: int
    said: str = ""
    inputs: dict[str, Any] | None = None
    outputs: dict[str, Any] | None = None


class Execution:
    """`run()` is all of it; `log` is the file it writes, `shown` where a person reads along."""

    def __init__(self, job: Job, log: Path, lease_fd: int, shown: TextIO | None) -> None:
        self.job, self.log, self.lease_fd, self.shown = job, log, lease_fd, shown
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped_by = 0
        self._read_bytes = 0
        self._text = codecs.getincrementaldecoder("utf-8")("replace")

    def run(self) -> Outcome:
        outcome = Outcome("stopped", 0, 0)
        with open(self.log, "ab") as out, self._passing_on():
            for attempt in range(1, self.job.retries + 2):
                self._write(out, f"attempt {attempt} of {self.job.retries + 1}")
                outcome = self._attempt(out, attempt)
                self._write(out, outcome.said or outcome.state)
                self._show()
                final = outcome.exit_code in (NOT_RUNNABLE, NOT_FOUND)
                if outcome.state == "done" or self._stopped_by or final:
                    break
                if attempt <= self.job.retries:
                    wait_s = self.job.backoff_s(attempt)
                    self._write(out, f"again in {wait_s:g} s")
                    self._show()
                    self._wait(wait_s)
                if self._stopped_by:
                    break
            os.fsync(out.fileno())
        if self._stopped_by:
            name = _name(self._stopped_by)
            outcome.state, outcome.exit_code = "stopped", 128 + self._stopped_by
            outcome.said = f"stopped by {name}"
        return outcome

    def _attempt(self, out: BinaryIO, attempt: int) -> Outcome:
        job = self.job
        try:
            inputs = {name: facts_of(job.folder, name) for name in job.inputs}
        except Missing as error:
            return Outcome("failed", NO_INPUT, attempt, f"input {error}")
        state, code, said = self._command(out, attempt)
        outcome = Outcome(state, code, attempt, said, inputs)
        if state != "done":
            return outcome
        for name, facts in inputs.items():
            how = differs(job.folder, name, facts)
            if how:
                said = f"input {name} {how} while the command ran"
                return Outcome("failed", CHANGED_INPUT, attempt, said, inputs)
        try:
            outcome.outputs = {name: facts_of(job.folder, name) for name in job.outputs}
        except Missing as error:
            return Outcome("failed", NO_OUTPUT, attempt, f"it exited with 0, but output {error}")
        return outcome

    def _command(self, out: BinaryIO, attempt: int) -> tuple[str, int, str]:
        job = self.job
        told = {"NAME": job.name, "KEY": job.key, "ATTEMPT": str(attempt)}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which wait
                self._process = subprocess.Popen(
                    job.command,
                    cwd=job.folder,
                    env=os.environ | {f"ONETAPE_JOB_{name}": text for name, text in told.items()},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    process_group=0,
                    pass_fds=[self.lease_fd],
                    preexec_fn=_ending_with_us(),  # noqa: PLW1509 it makes two system calls
                )
        except OSError as error:
            why = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE
            return "failed", why, f"{job.command[0]}: {error.strerror}"
        if self._stopped_by:  # it came before there was a process to tell
            self._tell(self._stopped_by)
        end_s = None if job.timeout_s is None else time.monotonic() + job.timeout_s
        is_late = False
        while (code := self._look()) is None:
            if end_s is not None and time.monotonic() >= end_s:
                self._tell(signal.SIGKILL if is_late else signal.SIGTERM)
                is_late, end_s = True, time.monotonic() + GRACE_S
        self._tell(signal.SIGKILL)  # what it left of its group
        self._process = None
        if is_late:
            return "timeout", TIMED_OUT, f"not done within {job.timeout}"
        if code < 0:
            return "failed", 128 - code, f"killed by {_name(-code)}"
        return ("done", 0, "") if code == 0 else ("failed", code, f"exit status {code}")

    def _look(self) -> int | None:
        """The exit status, if it has ended within a moment."""
        assert self._process is not None
        code = None
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(LOOK_S)
        self._show()
        return code

    def _wait(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while not self._stopped_by and (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(LOOK_S, left_s))

    @contextmanager
    def _passing_on(self) -> Iterator[None]:
        """Signals go to the command; those that end it also end the attempts."""
        were = {number: signal.getsignal(number) for number in TOLD}
        for number, handler in were.items():
            if handler != signal.SIG_IGN:  # nohup, or in the background of a shell
                signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number, handler in were.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: Any) -> None:
        if number in ENDING:
            self._stopped_by = number
        self._tell(number)

    def _tell(self, number: int) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _write(self, out: BinaryIO, text: str) -> None:
        now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        out.write(f"--- {now} UTC {self.job.title}: {text}\n".encode())
        out.flush()

    def _show(self) -> None:
        """What the log has gained, to the person."""
        if self.shown is None:
            return
        with open(self.log, "rb") as log:
            log.seek(self._read_bytes)
            new = log.read()
        self._read_bytes += len(new)
        try:
            self.shown.write(self._text.decode(new))
            self.shown.flush()
        except OSError:  # nobody reads any more; the job goes on
            self.shown = None


def _name(number: int) -> str:
    """Of a signal; those between SIGRTMIN and SIGRTMAX have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _ending_with_us() -> Any:
    """For the new process: SIGKILL when this one ends, where the system can do that."""
    if sys.platform != "linux":
        return None
    us, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != us:  # it ended before it was asked
            os.kill(os.getpid(), signal.SIGKILL)

    return ask
