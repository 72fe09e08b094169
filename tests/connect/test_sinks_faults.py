"""What goes wrong at a sink is said and tried again: it ends no thread and loses no row."""

import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from tests.connect.test_sinks import ROWS, Told, deliver, origins, output, wait_for

import onetape as ot
from onetape.connect.sinks import growing, outbox
from onetape.connect.sinks.outbox import Outbox
from onetape.connect.sinks.taking import Output
from onetape.records import DeclarationError, OperatorError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Desk:
    """Answers with these bytes in turn, then with 200; keeps (method, row) of each request."""

    def __init__(self, *answers, before=lambda: None):
        self.seen, self._answers, self._before = [], list(answers), before
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}/alerts"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.close()

    @property
    def keys(self):
        return [row["key"] for _, row in self.seen]

    def _serve(self):
        while True:
            try:
                line, _ = self._server.accept()
            except OSError:
                return
            with line, line.makefile("rb") as asked:
                method, length = asked.readline().split()[0], 0
                while (head := asked.readline().strip()) != b"":
                    name, _, value = head.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                self.seen.append((method, json.loads(asked.read(length) or b"null")))
                self._before()
                line.sendall(self._answers.pop(0) if self._answers else OK)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(outbox, "PAUSE_S", 0.01)
    monkeypatch.setattr(outbox, "LAST_TRY_S", 20.0)


@contextmanager
def full_disk(limit_bytes):
    """No file of this process grows beyond the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# --- webhooks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"not http at all\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
    ],
)
def test_an_answer_that_is_not_http_is_a_failure_like_others(answer):
    with Desk(answer) as desk:
        taker = deliver(ot.webhook(desk.url), output())

    first, again, second = desk.keys
    assert first == again != second
    assert taker.told().startswith("2 rows to webhook")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_refusal_that_names_where_to(status):
    answer = f"HTTP/1.1 {status} Moved\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n"
    with Desk(answer.encode()) as desk:
        taker = deliver(ot.webhook(desk.url), output())
        said = taker.tend()

    assert [method for method, _ in desk.seen] == [b"POST", b"POST"]
    assert "1 rows to webhook" in taker.told()
    refusal = f"status {status} Moved to /login, which is not followed"
    assert f"1 refused there ({refusal})" in taker.told()
    assert [line.partition(": ")[2] for line in said] == [f"rows are refused ({refusal})"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:abc/x",
        "http://127.0.0.1:70000/x",
        "http://127.0.0.1:0/x",
        "http://:80/x",
        "http://[::1/x",
        "http://desk/a b",
        "http://desk/\n",
        "http://desk/ä",
        "http://name:word@desk/x",
        "http://" + "a" * 70,
    ],
)
def test_an_address_that_can_never_work_is_refused_when_it_is_written(url, monkeypatch):
    with pytest.raises(DeclarationError, match="expected 'https://HOST/"):
        ot.webhook(url)
    monkeypatch.setenv("DESK_URL", url)
    with pytest.raises(OperatorError, match="what env:DESK_URL holds; expected") as refused:
        ot.webhook("env:DESK_URL").open(output())
    assert url not in str(refused.value)


@pytest.mark.parametrize("port", [0, 70000])
def test_a_port_of_tcp_that_can_never_work_is_refused(port):
    with pytest.raises(DeclarationError, match=f"port {port}; expected 1 to 65535"):
        ot.tcp(f"desk:{port}")


# --- the outbox -----------------------------------------------------------------------------------


def test_whatever_a_delivery_raises_it_is_tried_again():
    left, taken = [ValueError("of all things"), KeyError("x"), OSError("gone")], []
    said = []

    def to_desk(batch):
        if left:
            said.extend(taker.tend())
            raise left.pop(0)
        taken.extend(batch)
        return []

    taker = Outbox(output(), to_desk, "desk")
    taker.take(ROWS, origins())
    taker.close()

    assert len(taken) == 2
    assert taker.failures == 3
    assert taker.told() == "2 rows to desk"
    assert said == ["desk: of all things; rows wait", "desk: 'x'; rows wait"]


def test_a_note_that_cannot_be_written_is_said_and_written_later(tmp_path):
    (tmp_path / "far-0.tmp").mkdir()
    with Desk() as desk:
        taker = ot.webhook(desk.url).open(output(tmp_path))
        for n in range(2):
            taker.take(ROWS, origins(2 * n))
            wait_for(lambda: taker.waiting() == 0)
        (said,) = taker.tend()
        (tmp_path / "far-0.tmp").rmdir()
        taker.close()

    assert said.startswith(f"{tmp_path / 'far-0.delivered'} cannot be written (Is a directory)")
    assert len(set(desk.keys)) == 4
    assert (tmp_path / "far-0.delivered").read_text() == "4"
    assert taker.tend() == []


@pytest.mark.parametrize("text", ["", "1x", "-1", "\x00\x00"])
def test_a_damaged_note_counts_as_none(tmp_path, text):
    (tmp_path / "far-0.delivered").write_text(text)
    with Desk() as desk:
        taker = deliver(ot.webhook(desk.url), output(tmp_path))

    assert len(desk.keys) == 2
    assert "far-0.delivered was damaged" in taker.told()
    assert "delivered again, with the same keys" in taker.told()
    assert (tmp_path / "far-0.delivered").read_text() == "2"


def test_what_is_left_at_the_end_is_noted_and_delivered_by_the_next_run(tmp_path, monkeypatch):
    """`close` does not wait until a slow desk has taken all rows."""
    monkeypatch.setattr(outbox, "LAST_TRY_S", 0.0)
    with Desk(before=lambda: time.sleep(0.02)) as desk:
        taker = ot.webhook(desk.url).open(output(tmp_path))
        taker.take(np.concatenate([ROWS] * 20), origins(0, 40))
        wait_for(lambda: desk.seen)
        taker.close()
        first = set(desk.keys)
        assert len(first) < 40
        assert f"{taker.waiting()} rows wait" in taker.told()
        monkeypatch.setattr(outbox, "LAST_TRY_S", 20.0)

        taker = ot.webhook(desk.url).open(output(tmp_path))
        taker.take(np.concatenate([ROWS] * 20), origins(0, 40))
        taker.close()
    assert len(set(desk.keys)) == 40
    assert len(desk.keys) <= 41  # the call that was under way, perhaps


def test_a_call_that_hangs_does_not_hold_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox, "LAST_TRY_S", 0.0)
    monkeypatch.setattr(outbox, "HANG_UP_S", 0.01)
    answers = threading.Event()
    with Desk(before=lambda: answers.wait(20)) as desk:
        taker = ot.webhook(desk.url).open(output(tmp_path))
        taker.take(ROWS, origins())
        wait_for(lambda: desk.seen)
        taker.close()
        assert taker._thread.is_alive()
        assert "2 rows wait: a run with --resume delivers them" in taker.told()
        answers.set()
        taker._thread.join(20)
    assert not (tmp_path / "far-0.delivered").exists()


def test_tcp_sends_again_what_the_other_side_may_not_have_read():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        taker = ot.tcp(f"127.0.0.1:{server.getsockname()[1]}").open(output())
        taker.take(ROWS, origins())
        wait_for(lambda: taker.waiting() == 0)
        server.accept()[0].close()  # reads nothing
        taker.take(ROWS[:1], origins(2, 1))
        second = server.accept()[0]
        second.settimeout(20)
        with second, second.makefile() as lines:
            sequences = [json.loads(lines.readline())["key"].split("-")[4] for _ in range(3)]
            taker.close()
            assert lines.read() == ""
    assert sequences == ["0", "1", "2"]


# --- a disk that is full --------------------------------------------------------------------------


def test_a_text_file_waits_for_room(tmp_path):
    path = tmp_path / "far.jsonl"
    whole = deliver(ot.jsonl(str(tmp_path / "whole")), output(), batches=5)
    taker = ot.jsonl(str(path)).open(output())
    with full_disk(200):
        for n in range(5):
            taker.take(ROWS, origins(2 * n))
        assert path.stat().st_size == 200
        assert taker.tend() == [f"cannot write to {path}: File too large; rows wait in memory"]
        with pytest.raises(OperatorError, match="run again with --resume"):
            taker.finish()
    assert taker.tend() == []
    taker.finish()
    taker.close()

    assert path.read_text() == (tmp_path / "whole").read_text()
    assert whole.told().startswith("10 rows in")
    assert taker.told() == f"10 rows in {path}"


def test_a_text_file_that_waited_for_too_long_ends_with_a_whole_row(tmp_path, monkeypatch):
    monkeypatch.setattr(growing, "WAITING_MAX_BYTES", 1000)
    path = tmp_path / "far.csv"
    taker = ot.csv(str(path)).open(output())
    with full_disk(10):
        for n in range(100):
            taker.take(ROWS, origins(2 * n))
    taker.take(ROWS, origins(200))
    with pytest.raises(OperatorError, match="its last rows are left out; the rows are on the tape"):
        taker.finish()
    taker.close()

    lines = path.read_text().splitlines()
    assert 2 < len(lines) < 100
    assert lines[1:3] * (len(lines) // 2) == lines[1:]


def test_rows_for_somebody_else_wait_for_room(tmp_path):
    with Desk() as desk:
        taker = ot.webhook(desk.url).open(output(tmp_path))
        with full_disk(300):
            for n in range(5):
                taker.take(ROWS, origins(2 * n))
            wait_for(lambda: "File too large" in taker.last_failure)
        wait_for(lambda: taker.waiting() == 0)
        taker.close()
    assert len(set(desk.keys)) == len(desk.keys) == 10


def test_a_parquet_file_that_cannot_be_written_ends_with_the_run_only(tmp_path, monkeypatch):
    from onetape.connect import parquet

    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 1)
    taker = ot.parquet(str(tmp_path)).open(Output("far", Told))
    with full_disk(50):
        for n in range(200):
            taker.take(ROWS, origins(2 * n))
            if taker.tend():
                break
            time.sleep(0.01)
    with pytest.raises(OperatorError, match=r"far.parquet will not be made: cannot write to"):
        taker.finish()
    taker.close()
    assert list(tmp_path.iterdir()) == []


def test_stdout_that_nobody_reads_ends_nothing(tmp_path):
    """As `| head -1` does: the rows for the other sinks still come."""
    program = tmp_path / "program.py"
    rows = tmp_path / "rows.jsonl"
    program.write_text(
        "import onetape as ot\n"
        "trades = ot.source('binance:BTCUSDT').on_grid('0.01').trades()\n"
        f"pipeline = ot.Pipeline(t=trades >> ot.stdout() >> ot.jsonl({str(rows)!r}))\n"
    )
    argv = [sys.executable, "-m", "onetape.cli", "run", str(program), "--simulate"]
    argv += ["--seconds", "20", "--speed", "0"]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        subprocess.run(argv, stdout=pipe, stderr=subprocess.DEVNULL, timeout=120, check=True)

    assert rows.read_text().count("\n") > 100
