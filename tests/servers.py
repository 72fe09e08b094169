"""Real servers for tests, on loopback ports of their own: Kafka, a registry, QuestDB, NATS.

`start("kafka", brokers=3)` runs `deploy/kafka start` once a broker, in folders that go with it, and
returns when all answer a request. `deploy/NAME install $ONETAPE_SERVERS/NAME` gets the program
(`make servers` gets all); without it the test skips and says so. What a start script is given:

    deploy/NAME start FOLDER --data DIR --port PORT [--set KEY=VALUE ...]

A test that needs one broker takes the fixture of that name (tests/conftest.py), which all tests
of a process share; one that kills starts its own.
"""

import atexit
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
START_S = 120  # a JVM on a busy machine
PORTS = (16_000, 32_000)  # below those of Linux for clients
_draw = random.SystemRandom()  # processes of one seed would draw the same
STOP_S = 30  # after SIGTERM; then SIGKILL
# A server goes when its test process does, however that ends.
WITH_US = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


@dataclass(frozen=True)
class Kind:
    """How one kind of server is started, found and asked."""

    title: str
    needs: str  # a program; "" for none
    has: str  # what is in its folder when it is installed
    ports: tuple[str, ...]  # options of the start script that take one; the first is the client's
    address: str  # of one, with its port as {}
    answers: Callable[["Server"], bool]


class Server:
    """One server or a cluster; `kill`, `stop` and `restart` take the member, or mean all."""

    def __init__(self, name: str, members: int, settings: Mapping[str, Any], client: Any) -> None:
        self.name, self.kind, self.client = name, KINDS[name], dict(client)
        self.folder = Path(tempfile.mkdtemp(prefix=f"onetape-{name}-"))
        self.members = range(members)
        count = len(self.kind.ports)
        free = free_ports(members * count)
        self._ports = [free[at : at + count] for at in range(0, len(free), count)]
        self._settings = [f"--set={key}={value}" for key, value in settings.items()]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def ports(self) -> list[int]:
        """Where clients connect, a port a member."""
        return [own[0] for own in self._ports]

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def address(self) -> str:
        """As clients take it: "127.0.0.1:9092,127.0.0.1:9093", "http://127.0.0.1:8080"."""
        return ",".join(self.kind.address.format(port) for port in self.ports)

    def pid(self, member: int = 0) -> int:
        return self._processes[member].pid

    def port_of(self, option: str, member: int = 0) -> int:
        """Of another port: port_of("--pg-port")."""
        return self._ports[member][self.kind.ports.index(option)]

    def log(self, member: int = 0) -> str:
        path = self.folder / f"{member}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def kill(self, member: int | None = None) -> None:
        """SIGKILL: what was not synced is the server's own affair."""
        self._end(member, signal.SIGKILL)

    def stop(self, member: int | None = None) -> None:
        """SIGTERM, and wait; when all are meant, the folders go too."""
        self._end(member, signal.SIGTERM)
        if member is None:
            _running.pop(id(self), None)
            shutil.rmtree(self.folder, ignore_errors=True)

    def restart(self, member: int | None = None) -> None:
        """On the same ports and data; returns when the whole answers again."""
        self.kill(member)
        self.begin(member)
        self.wait()

    def begin(self, member: int | None = None) -> None:
        """Start without waiting."""
        for one in self._meant(member):
            with open(self.folder / f"{one}.log", "ab") as out:
                self._processes[one] = subprocess.Popen(
                    [*WITH_US, *self._command(one)],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )
        _running[id(self)] = self

    def wait(self, within_s: float = START_S) -> None:
        """Until the whole answers; raises with the log's end if it does not, or if one ends."""
        end_s = time.monotonic() + within_s
        while True:
            for member, process in self._processes.items():
                if process.poll() is not None:
                    raise ServerFailed(self._said(member, f"ended with {process.returncode}"))
            with contextlib.suppress(OSError):
                if self.kind.answers(self):
                    return
            if time.monotonic() > end_s:
                raise ServerFailed(self._said(0, f"no answer within {within_s:g} s"))
            time.sleep(0.05)

    def _command(self, member: int) -> list[str]:
        words: list[Any] = [DEPLOY / self.name, "start", installed(self.name)]
        words += ["--data", self.folder / f"{member}"]
        for option, port in zip(self.kind.ports, self._ports[member]):
            words += [option, port]
        if self.name == "kafka":
            voters = [f"{at + 1}@127.0.0.1:{own[1]}" for at, own in enumerate(self._ports)]
            words += ["--id", member + 1, "--voters", ",".join(voters)]
        return [str(word) for word in [*words, *self._settings]]

    def _meant(self, member: int | None) -> Sequence[int]:
        return self.members if member is None else [member]

    def _end(self, member: int | None, signum: int) -> None:
        meant = [self._processes.pop(one) for one in self._meant(member) if one in self._processes]
        for process in meant:
            _signal(process, signum)
        for process in meant:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
            _signal(process, signal.SIGKILL)  # the group: what a wrapper may have left
            process.wait()

    def _said(self, member: int, what: str) -> str:
        return f"{self.kind.title}: {what}; the end of its log:\n{self.log(member)[-3000:]}"


class ServerFailed(AssertionError):
    """A server did not start, or ended: its own words."""


def start(
    name: str,
    *,
    brokers: int = 1,
    settings: Mapping[str, Any] | None = None,
    client: Mapping[str, Any] | None = None,
) -> Server:
    """A server that answers, ended at the latest when this process ends.

    `settings` go to its own configuration (--set); `client` is what a Kafka client needs to be let
    in, beside the address. Skips the test where the program is not installed.
    """
    lacks = missing(name)
    if lacks:
        import pytest

        pytest.skip(lacks)
    for last in (False, False, True):  # a free port may be taken before the server has it
        server = Server(name, brokers, settings or {}, client or {})
        try:
            server.begin()
            server.wait()
            return server
        except BaseException as error:
            server.stop()
            if last or not isinstance(error, ServerFailed) or "in use" not in str(error):
                raise
    raise AssertionError


def shared(name: str) -> Iterator[Server]:
    """The body of a fixture."""
    server = start(name)
    yield server
    server.stop()


def missing(name: str) -> str:
    """What keeps `name` from being started, as one sentence that says how to get it; else ""."""
    kind = KINDS[name]
    if kind.needs and not shutil.which(kind.needs):
        return f"no {kind.title}: needs {kind.needs}"
    if name == "kafka":
        try:
            import confluent_kafka  # noqa: F401
        except ImportError:
            return "no Kafka client: pip install 'onetape[kafka]'"
    if not any(installed(name).glob(kind.has)):
        return f"no {kind.title}: deploy/{name} install $ONETAPE_SERVERS/{name}"
    return ""


def installed(name: str) -> Path:
    """The folder of an installed server: $ONETAPE_SERVERS/NAME."""
    return Path(os.environ.get("ONETAPE_SERVERS") or "/nowhere") / name


def free_ports(count: int) -> list[int]:
    """TCP ports of the loopback address that were free a moment ago, all different.

    Not of those that the system gives to whoever connects: a client that tries a server which is
    away is given the server's own port one day, is connected with itself, and keeps it.
    """
    with contextlib.ExitStack() as held:
        found: list[int] = []
        while len(found) < count:
            one = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                one.bind(("127.0.0.1", _draw.randrange(*PORTS)))
                found.append(one.getsockname()[1])
        return found


def _kafka_answers(server: Server) -> bool:
    """Each broker that runs was asked itself, and knows as many."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        for member in server._processes:
            address = {"bootstrap.servers": f"127.0.0.1:{server.ports[member]}", "log_level": 0}
            known = AdminClient(address | server.client).list_topics(timeout=5).brokers
            if len(known) < len(server._processes):
                return False
    except KafkaException:
        return False
    return True


def _http_answers(path: str) -> Callable[[Server], bool]:
    def answers(server: Server) -> bool:
        for member in server._processes:
            one = server.kind.address.format(server.ports[member])
            try:
                urlopen(f"{one}{path}", timeout=5).close()
            except HTTPError as refused:
                if refused.code != 401:  # it is there, and guarded
                    return False
        return True

    return answers


def _nats_answers(server: Server) -> bool:
    """It greets, has JetStream, and answers a ping."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        lines = connection.makefile("rb")
        greeting = lines.readline()
        assert greeting.startswith(b"INFO "), greeting
        told = json.loads(greeting[5:])
        if told.get("auth_required") or told.get("tls_required"):  # it is there, and guarded
            return bool(told.get("jetstream"))
        connection.sendall(b"CONNECT {}\r\nPING\r\n")
        while line := lines.readline():
            if line.startswith(b"PONG"):
                return bool(told.get("jetstream"))
    return False


def _signal(process: subprocess.Popen[bytes], signum: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signum)


@atexit.register
def _end_all() -> None:
    for server in list(_running.values()):
        server.kill()
        server.stop()


_running: dict[int, Server] = {}
HTTP = "http://127.0.0.1:{}"
KINDS = {
    "kafka": Kind(
        "Kafka",
        "java",
        "kafka_*.jar",
        ("--port", "--controller-port"),
        "127.0.0.1:{}",
        _kafka_answers,
    ),
    "registry": Kind(
        "schema registry",
        "java",
        "*-runner.jar",
        ("--port",),
        HTTP,
        _http_answers("/apis/ccompat/v7/subjects"),
    ),
    "questdb": Kind(
        "QuestDB",
        "java",
        "questdb-*.jar",
        ("--port", "--pg-port"),
        HTTP,
        _http_answers("/exec?query=SELECT%201"),
    ),
    "nats": Kind("NATS", "", "bin/nats-server", ("--port",), "nats://127.0.0.1:{}", _nats_answers),
}
