"""The demo's other side: the exchange, and a bad network before it, as processes of their own."""

import argparse
import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from onetape.compiled.counts import new_counts, record_ns
from onetape.connect.udp import Address
from onetape.records import OperatorError

END_S = 5.0


class DemoExchange:
    """`onetape exchange`, with `onetape relay` before line A where datagrams are to be lost."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self.asked_at = _free_address()
        self._exchange: subprocess.Popen[str] | None = None
        self._relay: subprocess.Popen[str] | None = None
        self._result: dict[str, Any] | None = None

    def start(self, lines: Sequence[Address]) -> None:
        """Start the processes; they make themselves ready while others do the same."""
        line_a = lines[0]
        if self._args.lose:
            before = _free_address()
            faults = ["--lose", str(self._args.lose), "--seed", str(self._args.seed)]
            self._relay = _start(["relay", "--from", str(before), "--to", str(line_a), *faults])
            line_a = before
        command = ["exchange", "--a", str(line_a), "--rerequest", str(self.asked_at)]
        if len(lines) > 1:
            command += ["--b", str(lines[1])]
        for option in ("seed", "instruments", "seconds", "episodes", "messages_per_s", "speed"):
            value = getattr(self._args, option)
            if value is not None:
                command += [f"--{option.replace('_', '-')}", str(value)]
        command += ["--on-enter", "--start-after-s", "0.1", "--linger-s", "1", "--json"]
        self._exchange = _start(command)

    def wait_ready(self) -> None:
        for process in (self._relay, self._exchange):
            if process is not None and _line(process) != "ready":
                _, said = process.communicate()
                last = said.strip().splitlines()[-1:] or ["the simulated exchange failed"]
                raise OperatorError(last[0].removeprefix("onetape: "))

    def begin(self) -> None:
        """Let it send."""
        assert self._exchange is not None and self._exchange.stdin is not None
        self._exchange.stdin.write("\n")
        self._exchange.stdin.flush()

    def is_running(self) -> bool:
        return self._exchange is not None and self._exchange.poll() is None

    def result(self) -> dict[str, Any]:
        """What the exchange sent and planted, once it has ended."""
        if self._result is None:
            assert self._exchange is not None
            told, said = self._exchange.communicate(timeout=60)
            try:
                self._result = json.loads(told.strip().splitlines()[-1])
            except (IndexError, ValueError):
                raise OperatorError(f"the simulated exchange failed: {said[-500:]}") from None
        return self._result or {}

    def latencies(self, heard: list[tuple[int, int]]) -> Any:
        """Counts of ns from the scheduled time of the event of an alert to the alert's arrival."""
        result, counts = self.result(), new_counts()
        midnights = {episode["midnight_ns"] for episode in result["episodes"]}
        for ts_event_ns, ts_recv_ns in heard:
            for midnight_ns in midnights:
                passed_ns = ts_event_ns - midnight_ns - result["first_due_ns"]
                due_ns = result["start_ns"] + round(passed_ns / self._args.speed)
                record_ns(counts, ts_recv_ns - due_ns)
        return counts

    def close(self) -> None:
        for process in (self._exchange, self._relay):
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.communicate(timeout=END_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "onetape.cli", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _free_address() -> Address:
    """A port of this machine that nobody has now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return Address(*probe.getsockname())
