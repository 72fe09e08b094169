"""A node on the network: datagrams in, datagrams out, what is missing is asked for."""

import contextlib
import os
import socket
import struct
import time

import pytest
from tests.codecs.itch_driver import add_order, mold

import onetape as ot
from onetape.codecs.rows_datagram import DURABLE, ROWS, read_datagram
from onetape.connect.udp import Address, open_receiver, open_sender, parse_address
from onetape.engine.digest import digests_of
from onetape.market.feed import source
from onetape.records import OperatorError
from onetape.records.market import GAP_FILLED, GAP_LOST
from onetape.runtimes.edge.lines import Line
from onetape.runtimes.edge.network import Network
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


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def unreachable(code, asker, server):
    """An ICMP answer to a datagram from `asker` to `server`: 7 no such host, 13 forbidden."""
    here = socket.inet_aton("127.0.0.1")
    udp = struct.pack(">HHHH", asker.getsockname()[1], server.getsockname()[1], 28, 0) + bytes(20)
    sent = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 48, 1, 0, 64, 17, 0, here, here) + udp
    head = struct.pack(">BBHI", 3, code, 0, 0)
    return head[:2] + struct.pack(">H", checksum(head + sent)) + head[4:] + sent


@pytest.mark.parametrize("code", [7, 13])
def test_a_server_that_the_network_does_not_reach_stops_nothing(tmp_path, stack, code):
    try:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    except PermissionError:
        pytest.skip("it takes the right to send ICMP")
    wire = Wire(tmp_path / "tape", stack, ask=True)
    with raw, wire.node:
        raw.sendto(unreachable(code, wire.asker, wire.server), ("127.0.0.1", 0))
        for n in (1, 2):
            wire.senders[0].send(mold(n, [add_order(n, price=9_000 + n)]))
            wire.until(lambda n=n: wire.sequences() == list(range(1, n + 1)))
        assert wire.asker.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0  # it was told


def test_lines_go_on_without_the_one_that_was_asked(tmp_path, stack):
    wire = Wire(tmp_path / "tape", stack, ask=True)
    with open(os.devnull) as nothing, wire.node:
        os.dup2(nothing.fileno(), wire.asker.fileno())
        wire.until(lambda: wire.node.line_statistics()[2]["errors"] > 0)
        wire.senders[1].send(mold(1, [add_order(1)]))
        wire.until(lambda: wire.sequences() == [1])


def test_each_feed_is_asked_for_at_its_own_times(tmp_path, stack):
    """Both miss messages all of the time: neither waits for the other."""
    any_port = parse_address("127.0.0.1:0")
    feeds = [source("itch", name=name, patience="60s") for name in "ab"]
    lines, senders, servers, asks = [], [], [], {}
    for n in (0, 1):
        line = stack.enter_context(open_receiver(any_port))
        server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        server.bind(("127.0.0.1", 0))
        server.settimeout(DEADLINE_S)
        asker = stack.enter_context(open_sender(Address(*server.getsockname())))
        senders.append(stack.enter_context(open_sender(line.address)))
        servers.append(server)
        asks[n] = asker.fd
        lines += [Line("A", line.fd, n, 0), Line("asked", asker.fd, n, 7)]
    node = EdgeNode(
        ot.Pipeline(a=feeds[0].top_of_book(), b=feeds[1].top_of_book()),
        tmp_path / "tape",
        framing=dict.fromkeys("ab", "moldudp64"),
        lines=lines,
        asks=asks,
        live=True,
    )
    with node:
        for sender in senders:
            sender.send(mold(1, [add_order(1)]))
            sender.send(mold(3, [add_order(3)]))
        for _ in range(3):
            requests = [struct.unpack(">10sQH", server.recv(100)) for server in servers]
            assert [request[1:] for request in requests] == [(2, 1), (2, 1)]


def test_a_seventh_line_is_refused():
    with pytest.raises(OperatorError, match="the lines of the feed were 7; expected at most 6"):
        Network([parse_address("127.0.0.1:0")] * 7)


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


def test_what_is_durable_is_said_again_by_a_node_that_is_resumed(tmp_path, stack):
    """The crash may have come between a row and its mark; here no new row follows."""
    wire = Wire(tmp_path / "tape", stack)
    with wire.node:
        wire.senders[0].send(mold(1, [add_order(1, price=9_001)]))
        wire.until(lambda: wire.sequences() == [1])
    (sent,) = [header for header, rows in wire.received() if rows is not None]

    again = Wire(tmp_path / "tape", stack, resume=True)
    again.node.recover(digests_of(again.node.plan))
    found = []
    with again.node:
        again.until(lambda: found.extend(again.received()) or found)
    assert [header.kind for header, _ in found] == [DURABLE]
    assert found[0][0].durable_offset > sent.tape_offset
