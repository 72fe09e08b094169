"""Sinks of a pipeline, through a run, a run that is resumed, and from the command line."""

import json
import socket
import threading

import pyarrow.parquet as pq
import pytest

from onetape import cli
from onetape.connect.sinks import outbox
from onetape.runtimes.delivery import ROWS_WAIT
from onetape.sim.exchange import write_file

PIPELINE = """
import onetape as ot
from onetape import c, market as mk

trades = ot.source("itch").trades()
vwap = trades.window("1s", every="100ms", by=c.instrument_id).agg(
    vwap=mk.vwap(), lots=c.qty_lots.sum()
)
far = (
    trades.asof_join(vwap, by=c.instrument_id, max_age="200ms")
    .filter((c.price_ticks - c.vwap).abs() * 10_000 > 5 * c.vwap)
    .alert("5 bp from VWAP", once_per="1s")
)
pipeline = ot.Pipeline(
    vwap=vwap >> ot.parquet({out!r}),
    far=far >> ot.parquet({out!r}) >> ot.jsonl({out!r} + "/far.jsonl") >> ot.tcp("{desk}"),
)
"""


class Desk:
    """Reads lines of JSON from whoever connects."""

    def __init__(self, port=0):
        self.server = socket.create_server(("127.0.0.1", port))
        self.address = "{}:{}".format(*self.server.getsockname())
        self.rows = []
        self._thread = threading.Thread(target=self._read)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join()
        self.server.close()

    def _read(self):
        with self.server.accept()[0] as one, one.makefile() as lines:
            self.rows += [json.loads(line) for line in lines]


@pytest.fixture
def day(tmp_path):
    write_file(tmp_path / "day.itch", seed=7, instruments=20, seconds=2.0, episodes=0)
    return tmp_path / "day.itch"


def test_rows_reach_every_sink_and_wait_for_one_that_is_away(tmp_path, day, capsys, monkeypatch):
    monkeypatch.setattr(outbox, "LAST_TRY_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    out, path = tmp_path / "out", tmp_path / "pipeline.py"
    path.write_text(PIPELINE.format(out=str(out), desk=f"127.0.0.1:{port}"))
    command = ["run", str(path), "--file", str(day), "--tape", str(tmp_path / "tape")]

    assert cli.main(command) == ROWS_WAIT
    told = capsys.readouterr()
    said = told.out
    assert f"onetape: tcp 127.0.0.1:{port}: " in told.err and "; rows wait" in told.err
    alerts = pq.read_table(out / "far.parquet", columns=["alert_id"]).to_pylist()
    lines = [json.loads(line) for line in (out / "far.jsonl").read_text().splitlines()]

    assert len(alerts) > 5
    assert pq.read_table(out / "vwap.parquet").num_rows > len(alerts)
    assert [row["alert_id"] for row in lines] == [row["alert_id"] for row in alerts]
    assert {row["text"] for row in lines} == {"5 bp from VWAP"}
    assert f"{len(alerts)} rows wait" in said

    monkeypatch.setattr(outbox, "LAST_TRY_S", 20.0)
    with Desk(port) as desk:
        assert cli.main([*command, "--resume"]) == 0
    assert [row["alert_id"] for row in desk.rows] == [row["alert_id"] for row in alerts]
    assert len({row["key"] for row in desk.rows}) == len(alerts)
    assert f"{len(alerts)} rows to tcp 127.0.0.1:{port}" in capsys.readouterr().out
