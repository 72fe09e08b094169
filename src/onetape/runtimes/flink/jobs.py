"""A job from its start to its end: given to a cluster, watched, its failure told in one line."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from onetape.records import OperatorError
from onetape.runtimes.flink.cluster import QUICK_START, LocalCluster, java_options
from onetape.runtimes.flink.environment import Environment
from onetape.runtimes.flink.rest import ENDED, Cluster
from onetape.runtimes.flink.submit import Job
from onetape.runtimes.flink.why import root_cause

SUBMIT_S = 300  # compiling is part of it
LOOK_S = 0.25


def submit(environment: Environment, folder: Path, job: Job) -> str:
    """Give the job to its cluster; returns its id. OperatorError: what it or Flink does not take.

    folder  for the log of the process that does it
    """
    log = folder / "log"
    log.mkdir(parents=True, exist_ok=True)
    variables = environment.variables() | {
        "FLINK_LIB_DIR": str(environment.lib(folder / "lib")),
        "FLINK_LOG_DIR": str(log),
        "FLINK_ENV_JAVA_OPTS": " ".join([*java_options(environment), QUICK_START]),
    }
    try:
        done = subprocess.run(
            [environment.python, "-m", "onetape.runtimes.flink.submit"],
            input=job.text(),
            env=variables,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=SUBMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise OperatorError(f"the job was not taken within {SUBMIT_S} s; see {log}") from None
    (log / "submit.out").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise OperatorError(root_cause(done.stderr, None))
    return str(json.loads(done.stdout.splitlines()[-1])["job"])


class Running:
    """A job that runs. `look()` now and then, from one thread.

    job     its id; another one after a JobManager of this machine was lost
    losses  how often the cluster lost a process, or the job a task
    """

    def __init__(
        self,
        given: Job,
        environment: Environment,
        folder: Path,
        *,
        local: LocalCluster | None = None,
        say: Callable[[str], None] = lambda text: print(f"onetape: {text}", file=sys.stderr),
    ) -> None:
        self.cluster = local.rest if local else Cluster(given.address)
        self.given, self.losses = given, 0
        self._environment, self._folder, self._local, self._say = environment, folder, local, say
        self._told_ms = 0
        self.job = submit(environment, folder, given)
        self._jobs = [self.job]  # each goes on from a checkpoint of those before

    def look(self) -> str:
        """The job's state, in Flink's words. OperatorError: it failed, and why."""
        if self._local is not None and self._tended(self._local):
            return "RESTARTING"
        try:
            state = self.cluster.state(self.job)
            failures = self.cluster.failures(self.job)
        except OperatorError:
            if self._local is None:
                raise
            return "UNKNOWN"  # tended at the next look
        for failure in failures:
            if failure.ts_ms <= self._told_ms:
                continue
            self._told_ms = failure.ts_ms
            if failure.is_ours:
                self._end(state)
                raise OperatorError(failure.why)
            if state != "FAILED":
                self.losses += 1
                self._say(f"the job goes back to its last checkpoint: {failure.why}")
        if state == "FAILED":
            raise OperatorError(failures[-1].why if failures else "Flink does not say why")
        if state == "CANCELED":
            raise OperatorError(f"job {self.job} was cancelled")
        return state

    def wait(self, until: Callable[[str], bool], timeout_s: float = float("inf")) -> str:
        """Look until a state will do. OperatorError: not within that time."""
        end_s = time.monotonic() + timeout_s
        while not until(state := self.look()):
            if time.monotonic() > end_s:
                raise OperatorError(f"job {self.job} is {state} after {timeout_s:.0f} s")
            time.sleep(LOOK_S)
        return state

    def stop(self, folder: str | None = None) -> str:
        """End it with a savepoint; returns where that is."""
        return self.cluster.stop(self.job, folder)

    def _tended(self, local: LocalCluster) -> bool:
        """Was something dead, and is started again?"""
        died = local.tend()
        self.losses += len(died)
        for name in died:
            self._say(f"a {name} was lost; another is started")
        if "jobmanager" not in died:
            return bool(died)
        local.wait_for_slots(tends=True)
        newest = local.newest_checkpoint(self._jobs)
        start = newest.as_uri() if newest else self.given.start
        self.job = submit(self._environment, self._folder, replace(self.given, start=start))
        self._jobs.append(self.job)
        self._told_ms = 0
        self._say(f"the job goes on as {self.job}, from {start or 'its beginning'}")
        return True

    def _end(self, state: str) -> None:
        if state not in ENDED:
            self.cluster.cancel(self.job)
