"""A node on the network: datagrams in, datagrams out, what is missing is asked for."""

import contextlib
import socket
import struct
import time

import pytest
from tests.codecs.itch_driver import add_order, mold

import onetape as ot
from onetape.codecs.rows_datagram import DURABLE, ROWS, read_datagram
from onetape.connect.udp import open_receiver, open_sender, parse_address
from onetape.engine.digest import digests_of
from onetape.market.feed import source
from onetape.records.market import GAP_FILLED, GAP_LOST
from onetape.runtimes.edge.lines import Line
from onetape.runtimes.edge.node import EdgeNode
from onetape.tape.reader import frames

DEADLINE_S = 10.0


def pipeline():
    feed = source("itch", patience="300ms")
    return ot.Pipeline(top=feed.top_of_book(), gap=feed.gaps())


class Wire:
    """Two lines into a node, a server to ask, and a socket its rows come to."""

    def __init__(self, folder, stack, wait="sleep", ask=False, **options):
        any_port = parse_address("127.0.0.1:0")
        self.lines = [stack.enter_context(open_receiver(any_port)) for _ in range(2)]
        self.senders = [stack.enter_context(open_sender(line.address)) for line in self.lines]
        self.out = stack.enter_context(open_receiver(any_port))
        self.sink = stack.enter_context(open_sender(self.out.address))
        lines = [Line("ab"[n], line.fd, 0, n) for n, line in enumerate(self.lines)]
        asks = {}
        self.server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.server.bind(("127.0.0.1", 0))
        self.server.settimeout(DEADLINE_S)
        if ask:
            self.asker = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            self.asker.connect(self.server.getsockname())
            asks = {0: self.asker.fileno()}
            lines.append(Line("asked", self.asker.fileno(), 0, 2))
        self.pipeline = pipeline()
        self.node = EdgeNode(
            self.pipeline,
            folder,
            framing={"itch": "moldudp64"},
            lines=lines,
            sinks={"top": self.sink.fd},
            asks=asks,
            wait=wait,
            live=True,
            **options,
        )
        self.rows = {"top": [], "gap": []}

    def until(self, condition):
        """Drain until it holds."""
        began_s = time.monotonic()
        while not condition():
            for name, rows, _ in self.node.drain():
                self.rows[name] += [tuple(row) for row in rows.tolist()]
            assert time.monotonic() - began_s < DEADLINE_S, self.rows
            time.sleep(0.001)

    def sequences(self):
        return [row[5] for row in self.rows["top"]]

    def received(self):
        """What has come to the sink so far: (header, rows)."""
        found = []
        records = [stream.of for stream in self.pipeline.outputs.values()]
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(read_datagram(self.out.socket.recv(65536), records))
        return found


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("wait", ["spin", "yield", "sleep"])
def test_datagrams_in_rows_out_at_once_then_durable(tmp_path, stack, wait):
    wire = Wire(tmp_path / "tape", stack, wait)
    with wire.node:
        wire.senders[0].send(mold(1, [add_order(1, price=9_000), add_order(2, price=9_001)]))
        wire.until(lambda: wire.sequences() == [1, 2])
        found = []

        def marked():
            found.extend(wire.received())
            return any(header.kind == DURABLE for header, _ in found)

        wire.until(marked)
    (header, rows), (mark, _) = found
    assert (header.kind, header.count, header.first_row, header.durable) == (ROWS, 2, 0, False)
    assert rows["sequence"].tolist() == [1, 2]
    assert header.driver == wire.node.manifest["driver"][:16]
    assert mark.durable_offset > header.tape_offset


def test_what_was_said_is_on_the_tape(tmp_path, stack):
    wire = Wire(tmp_path / "tape", stack)
    with wire.node:
        wire.senders[0].send(mold(1, [add_order(1)]))
        wire.until(lambda: wire.sequences() == [1])
    (sent,) = wire.received()[:1]

    kept = [payload for head, payload in frames(tmp_path / "tape", 0) if head.kind == 8]

    assert [read_datagram(bytes(p), [ot.market.TopOfBook])[0] for p in kept] == [sent[0]]


def test_the_other_line_brings_what_one_has_lost(tmp_path, stack):
    wire = Wire(tmp_path / "tape", stack)
    packets = [mold(n, [add_order(n, price=9_000 + n)]) for n in range(1, 7)]
    with wire.node:
        for n, packet in enumerate(packets):
            if n % 2 == 0:
                wire.senders[0].send(packet)
            wire.senders[1].send(packet)
        wire.until(lambda: wire.sequences() == [1, 2, 3, 4, 5, 6])
        assert wire.node.engine.feed_state("itch")["stale"] == 0
        statistics = wire.node.line_statistics()
    assert [(s["name"], s["packets"]) for s in statistics] == [("a", 3), ("b", 6)]


def test_what_is_missing_is_asked_for_and_spliced_in(tmp_path, stack):
    wire = Wire(tmp_path / "tape", stack, ask=True)
    packets = {n: mold(n, [add_order(n, price=9_000 + n)]) for n in range(1, 7)}
    with wire.node:
        for n in (1, 2, 5, 6):
            wire.senders[0].send(packets[n])
        request, asker = wire.server.recvfrom(100)
        assert struct.unpack(">10sQH", request) == (b"SESSION001", 3, 2)
        wire.server.sendto(mold(3, [add_order(3, price=9_003), add_order(4, price=9_004)]), asker)
        wire.until(lambda: wire.sequences() == [1, 2, 3, 4, 5, 6])
    assert [gap[5] for gap in wire.rows["gap"]][-1] == GAP_FILLED


def test_a_silent_feed_gives_up_by_ticks(tmp_path, stack):
    wire = Wire(tmp_path / "tape", stack)
    with wire.node:
        wire.senders[0].send(mold(1, [add_order(1)]))
        wire.senders[0].send(mold(3, [add_order(3, price=11_000)]))
        wire.until(lambda: len(wire.sequences()) == 2)
    assert [gap[5] for gap in wire.rows["gap"]][-1] == GAP_LOST
    assert wire.node.engine.counts().ticks > 0


def test_a_node_that_is_resumed_sends_what_had_not_left(tmp_path, stack):
    wire = Wire(tmp_path / "tape", stack)
    with wire.node:
        wire.senders[0].send(mold(1, [add_order(1, price=9_001)]))
        wire.until(lambda: wire.sequences() == [1])
    assert [header.first_row for header, rows in wire.received() if rows is not None] == [0]

    again = Wire(tmp_path / "tape", stack, resume=True)
    again.node.recover(digests_of(again.node.plan))
    with again.node:
        again.senders[0].send(mold(2, [add_order(2, price=9_002)]))
        again.until(lambda: again.sequences() == [2])

    headers = [header for header, rows in again.received() if rows is not None]
    assert [(header.first_row, header.epoch) for header in headers] == [(1, 2)]
