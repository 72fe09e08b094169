"""The record of what was run, in SQLite; and the lease that keeps a key to one run at a time.

    FOLDER/jobs.db               one row an execution, written when it begins and when it ends
    FOLDER/logs/NAME@KEY.N.log   what run N of the key wrote
    FOLDER/leases/NAME@KEY       locked while a process of the run lives

The lease is a file lock which the command inherits: the kernel lets go of it when the last process
of the run has ended, whoever was killed. So a record that says "running" and whose lease is free,
or held only by what a killed job left behind, is of a run that crashed. Who has the file open is
who has the lease: pids that come round again deceive nobody.
"""

import fcntl
import json
import os
import signal
import socket
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from onetape.records import OperatorError
from onetape.runtimes.job.job import Job

Record = dict[str, Any]

SCHEMA = """
CREATE TABLE IF NOT EXISTS execution (
    name TEXT NOT NULL, key TEXT NOT NULL, run INTEGER NOT NULL,
    state TEXT NOT NULL,          -- running, done, failed, timeout, stopped, crashed
    command TEXT NOT NULL,        -- JSON, like inputs and outputs
    folder TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL, log TEXT NOT NULL,
    started_ns INTEGER NOT NULL, ended_ns INTEGER, exit_code INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0, said TEXT NOT NULL DEFAULT '',
    inputs TEXT NOT NULL DEFAULT '{}', outputs TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (name, key, run)
) STRICT
"""
IN_JSON = ("command", "inputs", "outputs")
BUSY_S = 30  # SQLite's own lock, held for milliseconds
LEASE_S = 1.0  # a look at the list holds a lease for a moment


class Store:
    """The records in a folder; made where there is none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in ("logs", "leases"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(folder / "jobs.db", timeout=BUSY_S, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA synchronous = FULL")  # a commit is on the disk
            self._db.execute(SCHEMA)
        except sqlite3.DatabaseError as error:
            raise OperatorError(f"{folder / 'jobs.db'}: {error}; is it a job store?") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._db.close()

    def lease(self, name: str, key: str) -> "Lease":
        return Lease(self.folder / "leases" / f"{name}@{key}")

    def begin(self, job: Job) -> Record:
        """A new record that says "running"; the lease must be held. What crashed is marked so."""
        last = self.last(job.name, job.key)
        run = 1 if last is None else last["run"] + 1
        log = self.folder.resolve() / "logs" / f"{job.name}@{job.key}.{run}.log"
        record: Record = {
            "name": job.name,
            "key": job.key,
            "run": run,
            "state": "running",
            "command": list(job.command),
            "folder": str(job.folder),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "log": str(log),
            "started_ns": time.time_ns(),
        }
        names = ", ".join(record)
        marks = ", ".join(f":{name}" for name in record)
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(
            "UPDATE execution SET state = 'crashed' "
            "WHERE name = :name AND key = :key AND state = 'running'",
            {"name": job.name, "key": job.key},
        )
        self._db.execute(f"INSERT INTO execution ({names}) VALUES ({marks})", _stored(record))
        self._db.execute("COMMIT")
        return record

    def note(self, record: Record, **facts: Any) -> None:
        """Put facts into a record, here and in the store."""
        record |= facts
        sets = ", ".join(f"{name} = :{name}" for name in facts)
        of = "name = :name AND key = :key AND run = :run"
        where = {name: record[name] for name in ("name", "key", "run")}
        self._db.execute(f"UPDATE execution SET {sets} WHERE {of}", _stored(facts) | where)

    def last(self, name: str, key: str | None = None, run: int | None = None) -> Record | None:
        """The last record of a job, of a key, or the one of a run."""
        found = self.find(name, key, run, count=1)
        return found[0] if found else None

    def find(
        self,
        name: str | None = None,
        key: str | None = None,
        run: int | None = None,
        *,
        count: int = -1,
    ) -> list[Record]:
        """Newest first. A record whose run died says "crashed"."""
        asked = {"name": name, "key": key, "run": run}
        of = [f"{what} = :{what}" for what, value in asked.items() if value is not None]
        where = f"WHERE {' AND '.join(of)}" if of else ""
        text = f"SELECT * FROM execution {where} ORDER BY started_ns DESC, run DESC LIMIT :count"
        rows = self._db.execute(text, asked | {"count": count}).fetchall()
        return [self._as_it_is(_read(row)) for row in rows]

    def _as_it_is(self, record: Record) -> Record:
        if record["state"] != "running":
            return record
        with self.lease(record["name"], record["key"]) as lease:
            if not lease.take(0) and not lease.is_left(record["pid"]):
                return record
        # Its job is gone: the run died, or has just ended and said so.
        again = "SELECT * FROM execution WHERE name = :name AND key = :key AND run = :run"
        now = _read(
            self._db.execute(again, {n: record[n] for n in ("name", "key", "run")}).fetchone()
        )
        return now | {"state": "crashed"} if now["state"] == "running" else now


class Lease:
    """A lock that goes with the processes that hold it. Closing lets go of this process's part."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)

    def take(self, within_s: float = LEASE_S) -> bool:
        end_s = time.monotonic() + within_s
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            if time.monotonic() >= end_s:
                return False
            time.sleep(0.02)

    def holders(self) -> set[int]:
        """The processes that have it, beside this one; none where the system does not tell."""
        found = set()
        for fd in Path("/proc").glob("[0-9]*/fd/*"):
            with suppress(OSError):
                if os.readlink(fd) == str(self.path):
                    found.add(int(fd.parts[2]))
        return found - {os.getpid()}

    def is_left(self, pid: int) -> bool:
        """Is it held by remains of the job `pid`, which is gone itself?"""
        holders = self.holders()
        return bool(holders) and pid not in holders

    def end_remains(self) -> None:
        """Kill what holds it."""
        for pid in self.holders():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def _stored(facts: Record) -> Record:
    return {n: json.dumps(v) if n in IN_JSON else v for n, v in facts.items()}


def _read(row: sqlite3.Row) -> Record:
    return {n: json.loads(row[n]) if n in IN_JSON else row[n] for n in dict(row)}
