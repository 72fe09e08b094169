"""A Flink cluster through its REST interface: jobs, why one failed, savepoints, metrics."""

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from onetape.records import OperatorError
from onetape.runtimes.flink.why import is_ours, root_cause

CALL_S = 10
SAVEPOINT_S = 600
PAUSE_S = 0.2
ENDED = ("FINISHED", "FAILED", "CANCELED")


@dataclass(frozen=True)
class Failure:
    """Of a task, or of the job.

    is_ours  of the pipeline or its input: it would fail there again
    """

    ts_ms: int
    why: str
    is_ours: bool


class Cluster:
    """The cluster whose JobManager serves REST at HOST:PORT."""

    def __init__(self, address: str) -> None:
        host, _, port = address.removeprefix("http://").rstrip("/").rpartition(":")
        if not host or not port.isdecimal():
            raise OperatorError(f"cluster was {address!r}; expected HOST:PORT, of its REST")
        self.host, self.port, self.address = host, int(port), f"{host}:{port}"

    def get(self, path: str) -> Any:
        return self._call("GET", path, None)

    def is_there(self) -> bool:
        try:
            self.get("/overview")
        except OperatorError:
            return False
        return True

    def check(self) -> None:
        """OperatorError: nobody answers there. Flink's own client tries for more than a minute."""
        try:
            self.get("/overview")
        except OperatorError as why:
            raise OperatorError(
                f"{why}; give the address of its REST, HOST:PORT, as --cluster, or leave that out: "
                "the job then runs on this machine"
            ) from None

    def slots(self) -> int:
        return int(self.get("/overview")["slots-total"])

    def job(self, named: str) -> dict[str, Any]:
        """The job of that id, or the newest of that name. OperatorError: what jobs there are."""
        jobs = self.get("/jobs/overview")["jobs"]
        jobs.sort(key=lambda job: (job["state"] in ENDED, -job["start-time"]))
        for job in jobs:
            if named in (job["jid"], job["name"]):
                return dict(job)
        known = ", ".join(f"{j['name']} ({j['jid']}, {j['state'].lower()})" for j in jobs)
        raise OperatorError(f"{self.address} has no job {named}; it has {known or 'none'}")

    def state(self, job: str) -> str:
        return str(self.get(f"/jobs/{job}")["state"])

    def failures(self, job: str) -> list[Failure]:
        """Those that Flink remembers, oldest first."""
        told = []
        for entry in self.get(f"/jobs/{job}/exceptions")["exceptionHistory"]["entries"]:
            inner = [entry, *entry.get("concurrentExceptions", [])]
            said = next((one for one in inner if is_ours(one.get("stacktrace", ""))), entry)
            trace = said.get("stacktrace", "")
            why = root_cause(trace, said.get("taskName"))
            told.append(Failure(int(entry["timestamp"]), why, is_ours(trace)))
        return sorted(told, key=lambda one: one.ts_ms)

    def cancel(self, job: str) -> None:
        self._call("PATCH", f"/jobs/{job}?mode=cancel", None)

    def savepoint(self, job: str, folder: str | None = None) -> str:
        """Take one; returns where it is. OperatorError: why there is none."""
        return self._saved(job, "savepoints", {"target-directory": folder, "cancel-job": False})

    def stop(self, job: str, folder: str | None = None) -> str:
        """End the job with a savepoint: nothing is lost, all that it made is committed."""
        return self._saved(job, "stop", {"targetDirectory": folder, "drain": False})

    def checkpoints(self, job: str) -> dict[str, Any]:
        return dict(self.get(f"/jobs/{job}/checkpoints"))

    def counters(self, job: str) -> dict[str, float]:
        """Our metrics in Flink's: sums over the tasks, of `turn_us` the greatest."""
        totals: dict[str, float] = {}
        for vertex in self.get(f"/jobs/{job}")["vertices"]:
            path = f"/jobs/{job}/vertices/{vertex['id']}/subtasks/metrics"
            names = [m["id"] for m in self.get(path) if ".onetape." in m["id"]]
            if not names:
                continue
            for told in self.get(f"{path}?get={','.join(names)}&agg=sum,max"):
                name = told["id"].rpartition(".")[2]
                how = "max" if name == "turn_us" else "sum"
                totals[name] = totals.get(name, 0) + float(told[how])
        return totals

    def _saved(self, job: str, action: str, asked: dict[str, Any]) -> str:
        trigger = self._call("POST", f"/jobs/{job}/{action}", asked)["request-id"]
        end_s = time.monotonic() + SAVEPOINT_S
        while time.monotonic() < end_s:
            said = self.get(f"/jobs/{job}/savepoints/{trigger}")
            if said["status"]["id"] == "COMPLETED":
                made = said["operation"]
                if "failure-cause" in made:
                    why = root_cause(made["failure-cause"].get("stack-trace", ""), None)
                    raise OperatorError(f"there is no savepoint of job {job}: {why}")
                return str(made["location"])
            time.sleep(PAUSE_S)
        raise OperatorError(f"the savepoint of job {job} was not done within {SAVEPOINT_S} s")

    def _call(self, method: str, path: str, body: Any) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://{self.address}/v1{path}",
            data=data,
            method=method,
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=CALL_S) as answer:
                said = answer.read()
        except urllib.error.HTTPError as error:
            raise OperatorError(f"{self.address}{path}: {_told(error)}") from None
        except OSError as error:
            why = getattr(error, "reason", error)
            raise OperatorError(f"no Flink cluster answers at {self.address}: {why}") from None
        return json.loads(said) if said.strip() else None


def _told(error: urllib.error.HTTPError) -> str:
    """What Flink says in the body of a refusal."""
    try:
        errors = json.loads(error.read())["errors"]
    except (ValueError, KeyError):
        return f"{error.code} {error.reason}"
    return root_cause("\n".join(errors), None) or f"{error.code} {error.reason}"
