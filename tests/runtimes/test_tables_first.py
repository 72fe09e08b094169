"""A table beside a feed is known to the feed's first message, and is on the tape before it."""

import json
import socket
import subprocess
import sys

import pyarrow as pa
import pytest

import onetape as ot
from onetape import c, cli
from onetape.compiled.frame import (
    DATA,
    END,
    PAD,
    frame_bytes,
    frame_kind,
    frame_length,
    frame_source,
)
from onetape.records import OperatorError
from onetape.runtimes.inputs import inputs_of
from onetape.runtimes.load import load_pipeline
from onetape.sim.exchange import write_file
from onetape.tape.reader import read_segments

PIPELINE = """
import pyarrow as pa
import onetape as ot
from onetape import c
from onetape import market as mk

@ot.record
class Limit:
    ts_event_ns: ot.i64
    max_lots: ot.i64
    instrument_id: ot.u32

rows = pa.table({"instrument_id": [1, 2, 3], "max_lots": [10, 200, 3000]})
limits = ot.read(rows, Limit, columns={"ts_event_ns": None}, name="limits")
orders = ot.source("itch").events().filter(c.action == mk.ADD).select(c.instrument_id, c.qty_lots)
checked = orders.lookup(ot.table(limits, by=c.instrument_id))
over = checked.filter(c.qty_lots > c.max_lots)
pipeline = ot.Pipeline(over=over, unknown=checked.unknown, order=orders)
"""


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    path = tmp_path_factory.mktemp("day") / "01302019.NASDAQ_ITCH50"
    write_file(path, seed=9, instruments=5, seconds=0.4, messages_per_s=4000, episodes=0)
    return path


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "limits.py"
    path.write_text(PIPELINE)
    return path


def command(capsys, *argv):
    assert cli.main([str(a) for a in argv]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_batch_live_replay_and_resume_know_the_table_from_the_first_message(
    day, program, tmp_path, capsys
):
    pipeline = load_pipeline(str(program))
    found = ot.run(pipeline, file=day, quiet=True)

    most = {1: 10, 2: 200, 3: 3000}
    orders = found.order.to_dicts()
    over = [o for o in orders if o["qty_lots"] > most.get(o["instrument_id"], 1 << 40)]
    assert len(over) > 50
    assert [o["qty_lots"] for o in over] == [o["qty_lots"] for o in found.over.to_dicts()]
    assert len(found.unknown) == sum(o["instrument_id"] > 3 for o in orders) > 0

    tape = tmp_path / "tape"
    live = command(capsys, "run", program, "--file", day, "--tape", tape, "--json")
    assert live["digests"] == found.digests
    (held,) = [held for name, held in live["state"].items() if "Lookup" in name]
    assert (held["used"], held["limit"]) == (5, 65536)
    assert cli.main(["verify", str(program), str(tape)]) == 0
    again = command(capsys, "run", program, "--file", day, "--tape", tape, "--resume", "--json")
    assert again["digests"] == found.digests


@ot.record
class Limit:
    ts_event_ns: ot.i64
    max_lots: ot.i64
    instrument_id: ot.u32


def test_a_table_stands_beside_several_feeds(day):
    rows = pa.table({"instrument_id": [1, 2], "max_lots": [10, 200]})
    limits = ot.table(ot.read(rows, Limit, columns={"ts_event_ns": None}), by=c.instrument_id)
    first, second = (ot.source("itch", name=name).trades() for name in "ab")
    pipeline = ot.Pipeline(one=first.lookup(limits), other=second.lookup(limits))
    found = ot.run(pipeline, file={"a": day, "b": day}, quiet=True)

    assert len(found.one) > 10
    assert found.one.to_dicts() == found.other.to_dicts()


def test_symbols_beside_a_feed_need_its_ids(day):
    rows = pa.table({"instrument_id": ["AAPL"], "max_lots": [10]})
    limits = ot.table(ot.read(rows, Limit, columns={"ts_event_ns": None}), by=c.instrument_id)
    checked = ot.source("itch").trades().lookup(limits)

    with pytest.raises(OperatorError, match="say which id each has"):
        inputs_of(ot.Pipeline(checked=checked), day)


def free_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def start(*words):
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "onetape.cli", *map(str, words)]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.slow
def test_a_live_feed_finds_the_table_on_the_tape_before_it(program, tmp_path):
    line, tape = free_address(), tmp_path / "tape"
    node = start("run", program, "--udp", line, "--tape", tape)
    while "listening" not in (said := node.stderr.readline()):
        assert said, "the node ended"
    day = ["--seconds", "0.5", "--instruments", "5", "--episodes", "0", "--linger-s", "0.1"]
    exchange = start("exchange", "--a", line, "--on-enter", *day)
    assert exchange.stdout.readline() == "ready\n"
    for process in (exchange, node):
        _, told = process.communicate("\n", timeout=120)
        assert process.returncode == 0, told

    kinds = [
        (frame_source(buffer, at) & 255, frame_kind(buffer, at))
        for buffer, begin, end in read_segments(tape)
        for at in frames_in(buffer, begin, end)
    ]
    assert kinds[1:4] == [(1, DATA), (1, END), (0, DATA)]  # behind the manifest
    assert json.loads((tape / "result.json").read_text())["rows"]["over"] > 0
    assert cli.main(["verify", str(program), str(tape)]) == 0


def frames_in(buffer, begin, end):
    """Where each frame begins."""
    while begin < end:
        if frame_kind(buffer, begin) != PAD:
            yield begin
        begin += frame_bytes(frame_length(buffer, begin))
