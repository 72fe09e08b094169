"""A node that goes on with a tape: what it sent, what it saved, what it wrote, is continued."""

import errno
import os
import socket
import threading
import time
from contextlib import ExitStack
from datetime import date

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.codecs.itch_driver import add_order, mold
from tests.runtimes.counted import Number, pipeline

import onetape as ot
from onetape.codecs.rows_datagram import read_datagram
from onetape.connect.udp import open_sender, parse_address
from onetape.engine.digest import digests_of
from onetape.records import OperatorError
from onetape.runtimes.edge import live
from onetape.runtimes.edge import node as edge
from onetape.runtimes.edge.network import Network
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.listen import run_network
from onetape.runtimes.manifest import read_result
from onetape.tape import checkpoint

DEADLINE_S = 30
BLOCK = 2000


def push(node, first, last):
    for begin in range(first, last, BLOCK):
        block = np.zeros(BLOCK, Number.dtype)
        block["ts_event_ns"] = np.arange(begin, begin + BLOCK)
        while not node.push(block.tobytes()):
            list(node.drain())
    list(node.drain_until_idle())


def wait_for(condition):
    end_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.01)


class Reader:
    """Keeps (number of the first row, counts) of the datagrams of rows that come."""

    def __init__(self):
        self.rx = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.rx.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 26)
        self.rx.bind(("127.0.0.1", 0))
        self.rx.settimeout(0.2)
        self.tx = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.tx.connect(self.rx.getsockname())
        self.got, self._leave = [], threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._leave.set()
        self._thread.join()
        self.rx.close()
        self.tx.close()

    def _read(self):
        while True:
            try:
                header, rows = read_datagram(self.rx.recv(65536), [Number])
            except TimeoutError:
                if self._leave.is_set():
                    return
                continue
            if rows is not None:
                self.got.append((header.first_row, rows["key"].copy()))

    def numbers(self):
        """Numbers of the rows that came; each row must hold what its number says."""
        for first, counts in self.got:
            assert counts.tolist() == list(range(first + 1, first + 1 + len(counts)))
        return [first + i for first, counts in self.got for i in range(len(counts))]


def test_rows_that_were_never_sent_are_sent_in_order_however_many(tmp_path):
    """More than an output ring holds."""
    unsent = 2 * edge.OUTPUT_ROWS
    with EdgeNode(pipeline(), tmp_path / "tape") as node:
        push(node, 0, unsent)
        list(node.stop())
    with Reader() as reader:
        node = EdgeNode(
            pipeline(), tmp_path / "tape", resume=True, sinks={"out": reader.tx.fileno()}
        )
        node.recover(digests_of(node.plan))
        with node:
            push(node, unsent, unsent + BLOCK)
            list(node.stop())
    made = node.engine.counts().rows["out"]

    assert reader.numbers() == list(range(made))


def test_rows_that_were_sent_are_not_sent_again_from_a_checkpoint_on(tmp_path):
    with Reader() as reader:
        sinks = {"out": reader.tx.fileno()}
        with EdgeNode(pipeline(), tmp_path / "tape", sinks=sinks, checkpoint_every_s=0.05) as node:
            push(node, 0, 10 * BLOCK)
            node.tape.sync()
            wait_for(lambda: checkpoint.offsets(tmp_path / "tape"))
            push(node, 10 * BLOCK, 12 * BLOCK)
            list(node.stop())
        node = EdgeNode(pipeline(), tmp_path / "tape", resume=True, sinks=sinks)
        node.recover(digests_of(node.plan))
        with node:
            push(node, 12 * BLOCK, 13 * BLOCK)
            list(node.stop())
    made = node.engine.counts().rows["out"]

    assert reader.numbers() == list(range(made))


def test_a_tape_without_its_oldest_segments_goes_on_and_makes_checkpoints(tmp_path):
    folder, large = tmp_path / "tape", 30_000
    with EdgeNode(pipeline(), folder, checkpoint_every_s=0.05) as node:
        for ts_ns in range(150):  # two segments
            block = np.zeros(large, Number.dtype)
            block["ts_event_ns"] = ts_ns
            while not node.push(block.tobytes()):
                list(node.drain())
        list(node.drain_until_idle())
        node.tape.sync()
        wait_for(lambda: checkpoint.offsets(folder)[-1:] == [node.next_offset()])
        saved = checkpoint.offsets(folder)[-1]
        assert node.tape.drop_before(saved)
        list(node.stop())
    node = EdgeNode(pipeline(), folder, resume=True, checkpoint_every_s=0.05)
    assert node.recover(digests_of(node.plan)) == []
    with node:
        push(node, 1000, 1000 + BLOCK)
        node.tape.sync()
        wait_for(lambda: checkpoint.offsets(folder)[-1] > saved)
        list(node.stop())

    assert node.engine.arrays["n1_state"]["count"][0] == 150 * large + BLOCK
    assert node.statistics()["checkpoints_failed"] == 0


def test_a_checkpoint_that_cannot_be_written_is_tried_again(tmp_path, monkeypatch):
    folder, write, tries = tmp_path / "tape", checkpoint.write, []

    def full_once(*args, **named):
        tries.append(1)
        if len(tries) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*args, **named)

    monkeypatch.setattr(checkpoint, "write", full_once)
    with EdgeNode(pipeline(), folder, checkpoint_every_s=0.05) as node:
        push(node, 0, BLOCK)
        node.tape.sync()
        wait_for(lambda: checkpoint.offsets(folder))
        list(node.stop())

    assert node.statistics()["checkpoints_failed"] == 1
    assert node.troubles() == ["a checkpoint could not be written: No space left on device"]


def watching():
    feed = ot.source("itch")
    return ot.Pipeline(top=feed.top_of_book())


def heard(pipeline, folder, messages, is_quiet=True):
    """Listen for half a second, to so many messages; returns facts."""
    with ExitStack() as stack:
        network = stack.enter_context(Network([parse_address("127.0.0.1:0")]))
        sender = stack.enter_context(open_sender(network.receivers[0].address))
        for n in range(1, messages + 1):
            os.write(sender.fd, mold(n, [add_order(n, ts_ns=n * 1000, price=10_000 + n)]))
        return run_network(
            pipeline,
            network,
            folder,
            feed="itch",
            trading_date=date(2026, 1, 5),
            seconds=0.5,
            is_quiet=is_quiet,
        )


@pytest.mark.parametrize("is_quiet", [True, False])
def test_a_snapshot_that_cannot_be_written_ends_nothing(tmp_path, monkeypatch, capsys, is_quiet):
    monkeypatch.setattr(live, "FILE", "none/live.json")
    facts = heard(watching(), tmp_path / "tape", 20, is_quiet)

    assert facts["rows"]["top"] == 20
    assert facts["ended_by"] == "time"
    assert facts["snapshots_failed"] >= 2  # at the start and at the end
    said = f"cannot write to {tmp_path}/tape/none/live.json: No such file or directory"
    assert capsys.readouterr().err.count(said) == 1


def test_a_snapshot_is_written_when_it_can_be_again(tmp_path):
    partial = tmp_path / f".{live.FILE}.partial"
    partial.mkdir()
    assert live.write(tmp_path, {"n": 1}).startswith(f"cannot write to {tmp_path / live.FILE}: ")
    assert live.read(tmp_path) is None
    partial.rmdir()
    assert live.write(tmp_path, {"n": 2}) == ""
    assert live.read(tmp_path) == {"n": 2}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_file_of_rows_on_a_full_disk_does_not_end_the_node(tmp_path, capsys):
    stream = ot.source("itch").top_of_book()
    pipeline = ot.Pipeline(top=stream >> ot.jsonl("/dev/full"))

    with pytest.raises(OperatorError, match=r"the rows are on the tape: .* --resume"):
        heard(pipeline, tmp_path / "tape", 20, is_quiet=False)

    assert live.read(tmp_path / "tape")["rows"]["top"] == 20
    said = "onetape: cannot write to /dev/full: No space left on device; rows wait in memory"
    assert capsys.readouterr().err.splitlines().count(said) == 1
    assert read_result(tmp_path / "tape") is None


@pytest.mark.parametrize("checkpoint_every_s", [0, 0.05])
def test_a_resumed_listener_writes_all_rows_of_the_tape(tmp_path, checkpoint_every_s):
    bodies = [add_order(n, ts_ns=n * 1000, price=10_000 + n) for n in range(1, 41)]
    any_port = parse_address("127.0.0.1:0")
    for number, part in enumerate((bodies[:20], bodies[20:])):
        with ExitStack() as stack:
            network = stack.enter_context(Network([any_port]))
            sender = stack.enter_context(open_sender(network.receivers[0].address))
            for n, body in enumerate(part):
                os.write(sender.fd, mold(20 * number + n + 1, [body]))
            facts = run_network(
                watching(),
                network,
                tmp_path / "tape",
                feed="itch",
                trading_date=date(2026, 1, 5),
                out=tmp_path / "out",
                seconds=0.5,
                is_quiet=True,
                resume=number > 0,
                checkpoint_every_s=checkpoint_every_s,
            )

    assert facts["rows"]["top"] == 40
    assert pq.read_table(tmp_path / "out" / "top.parquet").num_rows == 40
