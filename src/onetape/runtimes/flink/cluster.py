"""A Flink cluster on this machine, of the jars in the Python package: one slot a TaskManager.

Two slots of one process would share one Python lock. What dies is started again: a TaskManager
takes up its part by itself, after a JobManager the job has to be given anew (`run`), for its memory
is where the job was. The scripts that come with Flink start two more Java processes each time, to
work out what stands in `memory` here.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from onetape.records import OperatorError
from onetape.runtimes.flink.environment import Environment, java
from onetape.runtimes.flink.rest import Cluster

HOST = "127.0.0.1"
REST_PORT = 8081
START_S = 120
JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
# Loaded once for a process: with a job's own class loader the bridge to Python fails the second
# time, because its native library is loaded already.
PARENT_FIRST = (
    "io.onetape;pemja;org.apache.flink.python;org.apache.flink.streaming.api.operators.python"
)
# A cluster goes when the thread that started it does, however that ends.
WITH_US = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
# The work is in compiled Python: Java's second compiler, which takes a core for the first half
# minute, would make the other tenth of it faster.
QUICK_START = "-XX:TieredStopAtLevel=1"
MIB = 1 << 20
HEAP, DIRECT, NETWORK, MANAGED = 640 * MIB, 256 * MIB, 128 * MIB, 256 * MIB
LOG4J = """\
rootLogger.level = INFO
rootLogger.appenderRef.file.ref = file
appender.file.name = file
appender.file.type = File
appender.file.fileName = ${sys:log.file}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{ISO8601} %-5p %c [%t] - %m%n
"""


class LocalCluster:
    """JobManager and TaskManagers as processes of this one; everything of theirs in `folder`.

    spares    TaskManagers more than slots are needed: one takes over while a dead one is started
    settings  of Flink, in place of those here
    """

    def __init__(
        self,
        environment: Environment,
        folder: Path,
        *,
        slots: int,
        spares: int = 0,
        settings: dict[str, str] | None = None,
    ) -> None:
        self.environment, self.folder, self.slots = environment, folder.resolve(), slots
        self.variables = environment.variables()
        self._own = _alone_in(self.folder)
        self._lock, port = _rest_port()
        self.rest = Cluster(f"{HOST}:{port}")
        self._rpc_port = str(_free_port())
        self.job_manager: subprocess.Popen[bytes] | None = None
        self.task_managers: list[subprocess.Popen[bytes]] = []
        self._count = slots + spares
        self._started = 0
        self._write_settings(settings or {})

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def savepoints(self) -> Path:
        return self.folder / "savepoints"

    def start(self) -> None:
        """Start all; returns when there are slots enough. OperatorError: which did not start."""
        self.job_manager = self._process("jobmanager", JOB_MANAGER)
        for _ in range(self._count):
            self.task_managers.append(self._task_manager())
        self.wait_for_slots()

    def wait_for_slots(self, *, tends: bool = False) -> None:
        """tends: what dies meanwhile is started again; else it is an error."""
        end_s = time.monotonic() + START_S
        while not self._is_there() or self.rest.slots() < self.slots:
            if tends:
                self.tend()
            for process in (self.job_manager, *self.task_managers):
                assert process is not None
                if process.poll() is not None:
                    raise OperatorError(
                        f"a process of Flink ended at its start ({process.returncode}); "
                        f"see {self.folder / 'log'}: {self._last_words()}"
                    )
            if time.monotonic() > end_s:
                raise OperatorError(
                    f"Flink has no {self.slots} slots within {START_S} s; see {self.folder / 'log'}"
                )
            time.sleep(0.1)

    def tend(self) -> list[str]:
        """Start again what has died; returns what that was: "jobmanager", "taskmanager"."""
        died = []
        if self.job_manager is not None and self.job_manager.poll() is not None:
            self.job_manager = self._process("jobmanager", JOB_MANAGER)
            died.append("jobmanager")
        for n, process in enumerate(self.task_managers):
            if process.poll() is not None:
                _end_group(process)  # Python workers outlive a killed parent by seconds
                self.task_managers[n] = self._task_manager()
                died.append("taskmanager")
        return died

    def newest_checkpoint(self, jobs: Iterable[str]) -> Path | None:
        """The one that was completed last of these jobs; the folder has those of earlier runs."""
        found = [f for job in jobs for f in self.checkpoints.glob(f"{job}/chk-*/_metadata")]
        return max(found, key=lambda path: path.stat().st_mtime_ns).parent if found else None

    def stop(self) -> None:
        processes = [p for p in (*self.task_managers, self.job_manager) if p is not None]
        for process in processes:
            process.terminate()
        end_s = time.monotonic() + 10
        for process in processes:
            try:
                process.wait(max(0.1, end_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _end_group(process)
        self.job_manager, self.task_managers = None, []
        self._lock.close()
        self._own.close()

    def _is_there(self) -> bool:
        """Does our own JobManager answer, and not another that has the port?"""
        try:
            told = self.rest.get("/jobmanager/config")
        except OperatorError:
            return False
        return any(
            one["key"] == "jobmanager.rpc.port" and one["value"] == self._rpc_port for one in told
        )

    def __enter__(self) -> "LocalCluster":
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def _task_manager(self) -> subprocess.Popen[bytes]:
        self._started += 1
        name = f"taskmanager-{self._started}"
        return self._process(name, TASK_MANAGER, "-D", f"taskmanager.resource-id={name}")

    def _process(self, name: str, main: str, *options: str) -> subprocess.Popen[bytes]:
        log = self.folder / "log" / f"{name}.log"
        heap = HEAP if main == TASK_MANAGER else 384 * MIB
        command = [
            *WITH_US,
            *(java(), f"-Xmx{heap}", "-Xss8m", f"-XX:MaxDirectMemorySize={DIRECT + NETWORK}"),
            *("-XX:MaxMetaspaceSize=256m", "-XX:+UseG1GC", QUICK_START),
            *java_options(self.environment),
            f"-Dlog.file={log}",
            f"-Dlog4j.configurationFile=file:{self.folder / 'conf' / 'log4j.properties'}",
            *("-cp", str(self.folder / "lib" / "*")),
            *(main, "--configDir", str(self.folder / "conf"), *options),
        ]
        with open(log.with_suffix(".out"), "ab") as out:
            return subprocess.Popen(
                command,
                env=self.variables,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C is for us: we end the job first
            )

    def _write_settings(self, settings: dict[str, str]) -> None:
        for name in ("conf", "log", "tmp", "checkpoints", "savepoints"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.environment.lib(self.folder / "lib")
        (self.folder / "conf" / "log4j.properties").write_text(LOG4J)
        chosen = self._settings() | memory() | settings
        text = "".join(f"{name}: {_yaml(value)}\n" for name, value in chosen.items())
        (self.folder / "conf" / "config.yaml").write_text(text)

    def _settings(self) -> dict[str, str]:
        tmp = str(self.folder / "tmp")
        return {
            "jobmanager.rpc.address": HOST,
            "jobmanager.rpc.port": self._rpc_port,
            "jobmanager.bind-host": HOST,
            "rest.address": HOST,
            "rest.bind-address": HOST,
            "rest.port": str(self.rest.port),
            "rest.bind-port": str(self.rest.port),
            "taskmanager.host": HOST,
            "taskmanager.bind-host": HOST,
            "taskmanager.numberOfTaskSlots": "1",
            "io.tmp.dirs": tmp,
            "blob.storage.directory": tmp,
            "web.upload.dir": tmp,
            "web.submit.enable": "false",
            "execution.checkpointing.dir": self.checkpoints.as_uri(),
            "execution.checkpointing.savepoint-dir": self.savepoints.as_uri(),
            "execution.checkpointing.num-retained": "3",
            "classloader.parent-first-patterns.additional": PARENT_FIRST,
            # A process of this machine that is gone is known to be gone at the second try.
            "heartbeat.interval": "500",
            "heartbeat.timeout": "8000",
            "heartbeat.rpc-failure-threshold": "1",
            "cluster.registration.error-delay": "500",
            "cluster.registration.initial-timeout": "100",
            "slot.request.timeout": "120000",
            "resourcemanager.standalone.start-up-time": "60000",
        }

    def _last_words(self) -> str:
        said = []
        for path in sorted((self.folder / "log").glob("*")):
            lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
            said += [line for line in lines if " ERROR " in line or path.suffix == ".out"][-1:]
        return "; ".join(said)[-400:] or "it said nothing"


def memory() -> dict[str, str]:
    """A TaskManager's memory, part by part: Python's own is outside of it."""
    heap = {"task.heap": HEAP - 128 * MIB, "framework.heap": 128 * MIB}
    direct = {"framework.off-heap": 128 * MIB, "task.off-heap": DIRECT - 128 * MIB}
    sizes = heap | direct | {"managed": MANAGED, "jvm-metaspace": 256 * MIB}
    told = {f"taskmanager.memory.{name}.size": f"{size}b" for name, size in sizes.items()}
    ends = {f"taskmanager.memory.network.{end}": f"{NETWORK}b" for end in ("min", "max")}
    over = {f"taskmanager.memory.jvm-overhead.{end}": f"{192 * MIB}b" for end in ("min", "max")}
    return told | ends | over | {"taskmanager.cpu.cores": "1"}


def java_options(environment: Environment) -> list[str]:
    """What Java 17 needs to be told to let Flink in: as Flink's own settings have it."""
    for line in (environment.home / "conf" / "config.yaml").read_text().splitlines():
        if line.strip().startswith("all: --add-exports"):
            return line.partition(":")[2].split()
    return []


def _end_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _yaml(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _alone_in(folder: Path) -> IO[str]:
    """Two clusters in one folder would write over each other's settings."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = open(folder / "lock", "a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise OperatorError(
            f"another Flink cluster of this machine works in {folder}; end it first, or give this "
            "one another name (--name) or folder (--state)"
        ) from None
    return lock


def _rest_port() -> tuple[IO[str], int]:
    """8081, where `onetape flink` looks, or a free one; the file is locked while 8081 is ours.

    Two clusters that begin at the same moment would both find the port free.
    """
    lock = open(Path(tempfile.gettempdir()) / f"onetape-flink-{os.getuid()}-{REST_PORT}.lock", "a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return lock, _free_port(REST_PORT)
    except OSError:  # another cluster of ours, or somebody else's server
        return lock, _free_port()


def _free_port(port: int = 0) -> int:
    """That one, or any. OSError: it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))
        return int(probe.getsockname()[1])
