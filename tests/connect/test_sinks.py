"""Sinks take rows in order; what leaves the machine waits, is tried again, and is told once."""

import csv
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

import onetape as ot
from onetape.connect.sinks import outbox
from onetape.connect.sinks.taking import Output
from onetape.engine.layout import ORIGIN
from onetape.records import DeclarationError, OperatorError, block_of

DEADLINE_S = 20


@ot.record
class Told:
    ts_event_ns: ot.i64
    price_ticks: ot.i64
    ids: ot.Array[ot.u64, 2]
    instrument_id: ot.u32
    rule: ot.u16


ROWS = block_of(Told, [(10, 100, (1, 2), 1, 7), (11, ot.UNSET, (3, 4), 2, 0)])
SYMBOLS = [0, int.from_bytes(b"AAPL    ", "big"), 0]


def output(folder=None, durable=None):
    return Output("far", Told, SYMBOLS, {7: "too far"}, durable, folder)


def origins(first=0, rows=2):
    made = np.zeros(rows, ORIGIN)
    made["tape_offset"] = made["sequence"] = range(first, first + rows)
    return made


def deliver(sink, where, batches=1, finish=True):
    taker = sink.open(where)
    for n in range(batches):
        taker.take(ROWS, origins(2 * n))
    if finish:
        taker.finish()
    taker.close()
    return taker


def wait_for(condition):
    end_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.005)


# --- files ----------------------------------------------------------------------------------------


def test_lines_of_json(tmp_path):
    taker = deliver(ot.jsonl(str(tmp_path / "new" / "far.jsonl")), output())

    first, second = map(json.loads, (tmp_path / "new" / "far.jsonl").read_text().splitlines())
    assert first == {
        "symbol": "AAPL",
        "ts_event_ns": 10,
        "price_ticks": 100,
        "ids": [1, 2],
        "instrument_id": 1,
        "rule": 7,
        "text": "too far",
    }
    assert (second["symbol"], second["price_ticks"]) == (None, None)
    assert taker.told() == f"2 rows in {tmp_path / 'new' / 'far.jsonl'}"


def test_csv_has_a_heading_and_no_arrays(tmp_path):
    deliver(ot.csv(str(tmp_path / "far.csv")), output())

    with (tmp_path / "far.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["symbol", "ts_event_ns", "price_ticks", "instrument_id", "rule"]
    assert [row["price_ticks"] for row in rows] == ["100", ""]


def test_parquet_is_there_when_the_run_is_over(tmp_path):
    import pyarrow.parquet as pq

    deliver(ot.parquet(str(tmp_path)), output(), finish=False)
    assert list(tmp_path.iterdir()) == []
    deliver(ot.parquet(str(tmp_path)), output(), batches=3)
    assert pq.read_table(tmp_path / "far.parquet").num_rows == 6


def test_stdout_and_callback(capsys):
    seen = []
    deliver(ot.stdout(), output())
    deliver(ot.callback(seen.append), output())

    assert capsys.readouterr().out.splitlines()[0] == (
        "far  symbol AAPL  ts_event_ns 10  price_ticks 100  instrument_id 1  rule 7  text too far"
    )
    assert [row.price_ticks for row in seen] == [100, ot.UNSET]
    with pytest.raises(OperatorError, match=r"the callback .*fails raised KeyError"):
        deliver(ot.callback(fails), output())


def fails(row):
    raise KeyError(row.instrument_id)


# --- to other programs ----------------------------------------------------------------------------


class Desk:
    """A web server that answers with `statuses` in turn, then with 200, and keeps what it took."""

    def __init__(self, *statuses):
        desk, left = self, list(statuses)
        self.taken, self.tries = [], 0

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                desk.tries += 1
                status = left.pop(0) if left else 200
                if status == 200:
                    desk.taken.append((self.headers["Idempotency-Key"], json.loads(body)))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/alerts"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def test_a_webhook_is_tried_again_until_it_takes_the_row():
    with Desk(503, 429) as desk:
        taker = deliver(ot.webhook(desk.url), output(), batches=2)

    assert [body["ts_event_ns"] for _, body in desk.taken] == [10, 11, 10, 11]
    assert [key for key, _ in desk.taken] == [body["key"] for _, body in desk.taken]
    assert len({key for key, _ in desk.taken}) == 4
    assert desk.tries == 6
    assert taker.told().startswith("4 rows to webhook 127.0.0.1:")


def test_a_refusal_is_counted_and_passed_over():
    with Desk(400) as desk:
        taker = deliver(ot.webhook(desk.url), output())

    assert [body["ts_event_ns"] for _, body in desk.taken] == [11]
    assert "1 refused there (status 400 Bad Request)" in taker.told()


def test_what_was_delivered_is_not_delivered_again(tmp_path, monkeypatch):
    """A run that is resumed makes all rows again; the sink goes on behind those it delivered."""
    monkeypatch.setattr(outbox, "LAST_TRY_S", 0.0)
    with Desk() as desk:
        sink = ot.webhook(desk.url)
        taker = sink.open(output(tmp_path))
        taker.take(ROWS, origins(0))
        wait_for((tmp_path / "far-0.delivered").exists)
        wait_for(lambda: taker.waiting() == 0)
        taker.close()
    closed = sink.open(output(tmp_path))
    closed.take(ROWS, origins(0))
    closed.take(ROWS, origins(2))  # nobody is there to take these
    closed.close()
    assert "2 rows wait" in closed.told()
    assert "a run with --resume delivers them" in closed.told()

    with Desk() as again:
        taker = ot.webhook(again.url).open(output(tmp_path))
        for n in range(3):
            taker.take(ROWS, origins(2 * n))
        wait_for(lambda: taker.waiting() == 0)
        taker.close()

    assert [body["ts_event_ns"] for _, body in desk.taken] == [10, 11]
    assert [body["ts_event_ns"] for _, body in again.taken] == [10, 11, 10, 11]
    assert not {key for key, _ in desk.taken} & {key for key, _ in again.taken}


def test_a_row_that_a_crash_may_take_back_waits(monkeypatch):
    monkeypatch.setattr(outbox, "LAST_TRY_S", 0.0)
    durable = [0]
    with Desk() as desk:
        taker = ot.webhook(desk.url).open(output(durable=lambda: durable[0]))
        taker.take(ROWS[:1], origins(5, 1))
        taker.close()
        assert desk.taken == []
        assert "1 rows wait" in taker.told()

        taker = ot.webhook(desk.url).open(output(durable=lambda: durable[0]))
        taker.take(ROWS[:1], origins(5, 1))
        durable[0] = 6
        wait_for(lambda: desk.taken)
        taker.close()


def test_tcp_connects_again():
    with socket.create_server(("127.0.0.1", 0)) as server:
        taker = ot.tcp(f"127.0.0.1:{server.getsockname()[1]}").open(output())
        taker.take(ROWS, origins())
        with server.accept()[0] as first:
            assert json.loads(first.makefile().readline())["ts_event_ns"] == 10
        end_s = time.monotonic() + DEADLINE_S
        server.settimeout(0.05)
        second = None
        while second is None and time.monotonic() < end_s:
            taker.take(ROWS[:1], origins(2, 1))
            try:
                second = server.accept()[0]
            except TimeoutError:
                continue
        assert second is not None
        with second:
            second.settimeout(DEADLINE_S)
            assert json.loads(second.makefile().readline())["price_ticks"] == 100
        taker.close()


@pytest.mark.parametrize(
    "declare, message",
    [
        (lambda: ot.webhook("desk"), "expected 'https://HOST/...' or 'env:NAME'"),
        (lambda: ot.tcp("desk"), "expected 'HOST:PORT'"),
        (lambda: ot.csv("out/"), "expected a file's path"),
        (lambda: ot.callback(3), "expected a function"),
        (lambda: ot.source(Told) >> "out.csv", "expected a sink, such as ot.parquet"),
    ],
)
def test_what_is_no_sink(declare, message):
    with pytest.raises(DeclarationError, match=message):
        declare()


def test_a_secret_is_read_from_the_environment(monkeypatch):
    monkeypatch.delenv("DESK_URL", raising=False)
    with pytest.raises(OperatorError, match="the environment variable DESK_URL is not set"):
        ot.webhook("env:DESK_URL").open(output())
    monkeypatch.setenv("DESK_URL", "ftp://x")
    with pytest.raises(OperatorError, match="expected 'https"):
        ot.webhook("env:DESK_URL").open(output())
