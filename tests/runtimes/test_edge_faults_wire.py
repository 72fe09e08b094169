"""A bad network through real sockets: what is dropped, refused or waited for is counted and shown.

The faults themselves are in test_edge_faults.py, in virtual time; here are the kernel's buffers, a
server that is not there, queues that are full, and the processes as a person starts them.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest
from tests.runtimes.bad_network import Day, mark, watch

from onetape.codecs.moldudp64 import END_OF_SESSION
from onetape.connect.udp import open_receiver, open_sender, parse_address
from onetape.engine.digest import digests_of
from onetape.records.market import GAP_LOST, STALE
from onetape.runtimes.edge import live
from onetape.runtimes.edge import node as edge_node
from onetape.runtimes.edge.network import Network
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.top import table
from onetape.sim.exchange import write_file
from onetape.sim.venue.packets import History
from onetape.sim.venue.rerequest import RerequestServer

DEADLINE_S = 30.0
ANY_PORT = parse_address("127.0.0.1:0")
TINY_BUFFER_BYTES = 4096
PIPELINE = watch(patience="200ms")


@pytest.fixture(scope="module")
def day():
    made = Day(1)
    made.digests, made.rows = made.answer(PIPELINE)
    return made


@pytest.fixture
def stack():
    with ExitStack() as opened:
        yield opened


class Listening:
    """A node with one line; `until` drains it until a condition holds."""

    def __init__(self, stack, folder, rerequest=None, **options):
        self.network = stack.enter_context(Network([ANY_PORT], rerequest=rerequest, **options))
        self.sender = stack.enter_context(open_sender(self.network.receivers[0].address))
        self.node = EdgeNode(
            PIPELINE, folder, framing={"itch": "moldudp64"}, **self.network.options()
        )
        self.digests = digests_of(self.node.plan)
        self.rows = {name: [] for name in self.node.plan.outputs}

    def drain(self):
        for name, rows, origins in self.node.drain():
            self.digests[name].update(rows, origins)
            self.rows[name] += [row.copy() for row in rows]

    def until(self, condition):
        deadline_s = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline_s, self.facts()
            self.drain()
            time.sleep(0.001)

    def taken(self, count):
        """Wait until the loop has taken so many datagrams of the line."""
        self.until(lambda: self.node.line_statistics()[0]["packets"] == count)

    def end_session(self, day):
        """Say the end until it is heard and nothing is missing before it."""

        heard = -1

        def has_ended():
            nonlocal heard
            packets = self.node.line_statistics()[0]["packets"]
            if packets > heard:  # one at a time: the buffer may be tiny
                heard = packets
                self.sender.send(mark(day.next_sequence, END_OF_SESSION))
            feed = self.node.engine.feed_state("itch")
            return feed["ended"] and self.node.is_idle() and not feed["gap_open"]

        self.until(has_ended)
        self.node.push_end()
        self.until(self.node.is_idle)
        self.drain()

    def facts(self):
        return live.snapshot(self.node, self.network)

    def answer(self):
        made = {name: digest.hexdigest() for name, digest in self.digests.items()}
        return {name: digest for name, digest in made.items() if name != "gap"}


def screen(facts):
    from rich.console import Console

    console = Console(width=200)
    with console.capture() as captured:
        console.print(table(facts, None))
    return captured.get()


@contextmanager
def serving(stack, day):
    """The venue's re-request server, on a thread."""
    receiver = stack.enter_context(open_receiver(ANY_PORT))
    history = History(len(day.blocks))
    for block in day.blocks:
        history.add(block)
    server = RerequestServer(receiver, history, lambda: day.next_sequence, session=day.session)
    stop = threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    try:
        yield receiver.address
    finally:
        stop.set()
        thread.join()


def burst(wire, day):
    """All of the day at once, before anybody takes it: how many datagrams the kernel dropped."""
    for _, datagram in day.sent:
        assert wire.sender.send(datagram)
    dropped = wire.network.drops()
    assert dropped > 0
    return dropped


def test_what_a_receive_buffer_cannot_hold_is_lost_and_all_of_it_counted(day, stack, tmp_path):
    wire = Listening(stack, tmp_path / "tape", receive_buffer_bytes=TINY_BUFFER_BYTES)
    dropped = burst(wire, day)
    kept = len(day.sent) - dropped
    whole = sum(int.from_bytes(datagram[18:20], "big") for _, datagram in day.sent[:kept])

    with wire.node:
        wire.taken(kept)
        wire.end_session(day)
        facts = wire.facts()

    (gap,) = [row for row in wire.rows["gap"] if row["state"] == GAP_LOST]
    assert gap["first_sequence"] == whole + 1
    assert gap["messages_count"] == day.next_sequence - 1 - whole
    losses = live.losses(facts)
    assert losses["dropped by the kernel"] == dropped
    assert losses["lost messages"] == gap["messages_count"]
    assert facts["sources"]["itch"]["is_stale"]
    shown = screen(facts)
    assert f"dropped by the kernel {dropped:,}" in shown
    assert f"lost messages {gap['messages_count']:,}" in shown
    assert "stale" in shown
    assert wire.network.warnings == []  # it was given all that it asked for


def test_what_a_receive_buffer_cannot_hold_is_asked_for_again(day, stack, tmp_path):
    with serving(stack, day) as address:
        wire = Listening(stack, tmp_path / "t", address, receive_buffer_bytes=TINY_BUFFER_BYTES)
        dropped = burst(wire, day)
        with wire.node:
            wire.taken(len(day.sent) - dropped)
            wire.end_session(day)
            facts = wire.facts()

    assert wire.answer() == day.digests
    assert live.losses(facts) == {"dropped by the kernel": dropped}
    assert not facts["sources"]["itch"]["is_stale"]
    assert all(row["flags"] & STALE == 0 for row in wire.rows["top_of_book"])
    assert facts["loop"]["asked"] > 0
    assert "asked" in screen(facts)


def test_a_server_that_is_not_there_stops_nothing(day, stack, tmp_path):
    """Its host says that nobody listens: an error on the socket, each time."""
    with open_receiver(ANY_PORT) as gone:
        nobody = gone.address
    wire = Listening(stack, tmp_path / "tape", nobody)
    with wire.node:
        for n, (_, datagram) in enumerate(day.sent):
            if n != 100:
                wire.sender.send(datagram)
        wire.end_session(day)
        facts = wire.facts()

    assert facts["loop"]["asked"] > 1
    assert facts["sources"]["itch"]["lost"] == int.from_bytes(day.sent[100][1][18:20], "big")
    assert [line["errors"] for line in facts["lines"]] == [0, 0]


def test_a_line_that_was_never_heard_says_so(stack, tmp_path, day):
    wire = Listening(stack, tmp_path / "tape")
    with wire.node:
        before = screen(wire.facts())
        wire.sender.send(day.sent[0][1])
        wire.until(lambda: wire.facts()["lines"][0]["heard_ns"] > 0)
        after = screen(wire.facts())

    assert "not heard yet" in before
    assert "not heard yet" not in after


def test_a_full_output_ring_holds_the_loop_back_and_loses_nothing(
    day, stack, tmp_path, monkeypatch
):
    monkeypatch.setattr(edge_node, "OUTPUT_ROWS", 64)
    wire = Listening(stack, tmp_path / "tape")
    with wire.node:
        for _, datagram in day.sent:
            wire.sender.send(datagram)
        deadline_s = time.monotonic() + DEADLINE_S
        while wire.node.statistics()["waits_output"] == 0:  # nobody drains
            assert time.monotonic() < deadline_s
            time.sleep(0.001)
        full = wire.facts()
        wire.end_session(day)
        facts = wire.facts()

    waiting, ring, _ = full["queues"]["before Python"]
    assert ring // 2 < waiting <= ring == 64
    assert f"before Python {waiting} of 64" in screen(full)
    assert "waits output" in screen(full)
    assert wire.answer() == day.digests
    assert live.losses(facts) == {}


class Processes:
    """Commands of onetape, ended by their own process ids."""

    def __init__(self, stack, folder):
        self.stack, self.folder, self.count = stack, folder, 0

    def start(self, *argv, stdin=None):
        self.count += 1
        said = (self.folder / f"said-{self.count}").open("w+")
        process = subprocess.Popen(
            [sys.executable, "-m", "onetape.cli", *map(str, argv)],
            stdout=subprocess.PIPE,
            stderr=said,
            stdin=stdin,
            text=True,
            env=os.environ,
        )
        self.stack.callback(said.close)
        self.stack.enter_context(process)
        self.stack.callback(process.kill)
        return process

    def there(self, path):
        """Wait until a file is there."""
        deadline_s = time.monotonic() + 120
        while not path.exists():
            said = [one.read_text() for one in self.folder.glob("said-*")]
            assert time.monotonic() < deadline_s, said
            time.sleep(0.02)


def free_ports(count):
    with ExitStack() as opened:
        found = [opened.enter_context(open_receiver(ANY_PORT)) for _ in range(count)]
        return [str(receiver.address) for receiver in found]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_exchange_relay_and_node_as_processes_give_the_answer_of_the_file(tmp_path, stack, seed):
    day = tmp_path / "day.itch"
    write_file(day, seed=seed, instruments=10, seconds=2.0, messages_per_s=2000, episodes=2)
    line_a, before_a, line_b, server = free_ports(4)
    run = Processes(stack, tmp_path)
    node = run.start(
        "run", "standard", "--udp", line_a, "--udp", line_b, "--rerequest", server,
        "--tape", tmp_path / "tape", "--date", "2019-01-30", "--json",
    )  # fmt: skip
    run.there(tmp_path / "tape" / live.FILE)
    faults = ["--lose", ".05", "--duplicate", ".05", "--reorder", ".05", "--corrupt", ".01"]
    relay = run.start(
        "relay", "--from", before_a, "--to", line_a, "--seed", seed, *faults, "--json"
    )
    assert relay.stdout.readline() == "ready\n"
    exchange = run.start(
        "exchange", "--a", before_a, "--rerequest", server, "--file", day, "--linger-s", "5",
        "--json",
    )  # fmt: skip
    assert exchange.stdout.readline() == "ready\n"
    facts = json.loads(node.communicate(timeout=120)[0].splitlines()[-1])
    relay.send_signal(signal.SIGINT)
    passed = json.loads(relay.communicate(timeout=60)[0].splitlines()[-1])

    whole = run.start("replay", day, "--date", "2019-01-30", "--json")
    answer = json.loads(whole.communicate(timeout=120)[0].splitlines()[-1])
    assert facts["ended_by"] == "end of session"
    assert facts["digests"] == answer["digests"]
    assert passed["lost"] > 0
    assert facts["asked"] > 0
    assert facts["sources"]["itch"]["gaps"] > 0
    assert facts["sources"]["itch"]["lost"] == 0

    checked = run.start("verify", "standard", tmp_path / "tape", "--json")
    assert json.loads(checked.communicate(timeout=300)[0].splitlines()[-1])["equal"]
