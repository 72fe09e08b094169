"""`onetape exchange` and `onetape relay`, as a person or a script starts them."""

import json
import os
import signal
import socket
import threading
import time
from contextlib import ExitStack

import pytest

from onetape.cli import main
from onetape.connect.udp import open_receiver, open_sender, parse_address
from onetape.sim import simulate
from onetape.sim.venue import commands
from onetape.sim.venue import exchange as venue_exchange
from onetape.sim.venue.exchange import Exchange
from onetape.sim.venue.packets import pack_all, session_of
from onetape.sim.venue.relay import COUNTS

DEADLINE_S = 20.0
TINY = ["--seconds", "0.3", "--messages-per-s", "1000", "--episodes", "0"]
AT_ONCE = ["--speed", "0", "--start-after-s", "0", "--linger-s", "0"]


@pytest.fixture
def stack():
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def listener(stack):
    receiver = stack.enter_context(open_receiver(parse_address("127.0.0.1:0")))
    receiver.socket.settimeout(DEADLINE_S)
    return receiver


def heard(receiver):
    """(messages, datagrams) up to the end of the session."""
    messages = datagrams = 0
    while (packet := receiver.socket.recv(9216))[18:] != b"\xff\xff":
        messages += int.from_bytes(packet[18:20], "big")
        datagrams += 1
    return messages, datagrams


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_an_exchange_serves_a_simulated_day(listener, capsys):
    argv = ["exchange", "--a", str(listener.address), "--rerequest", free_port(), "--json"]

    assert main([*argv, *TINY, *AT_ONCE]) == 0

    out, err = capsys.readouterr()
    ready, facts = out.splitlines()
    facts = json.loads(facts)
    assert ready == "ready"
    assert err.startswith(f"onetape: listen with: onetape run standard --udp {listener.address} ")
    assert err.endswith(" --date 2026-01-05\n")
    assert heard(listener) == (facts["messages"], facts["packets"])
    assert facts["messages"] > 200
    assert facts["unsent"] == [0]
    assert facts["requests"] == {"answered": 0, "messages": 0, "unsent": 0, "refused": {}}
    assert facts["stopped"] is False


def test_an_exchange_serves_a_file(listener, tmp_path, capsys):
    day = simulate(seconds=0.2, messages_per_s=1000.0, episodes=0)
    path = tmp_path / "day.itch"
    path.write_bytes(day.data)

    assert main(["exchange", "--a", str(listener.address), "--file", str(path), *AT_ONCE]) == 0

    assert heard(listener)[0] == day.messages
    assert f"{day.messages:,} messages" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_session_and_it_is_told(listener, capsys, number):
    def interrupt():
        listener.socket.recv(9216)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt).start()

    argv = ["exchange", "--a", str(listener.address), "--speed", "0.001", "--json", *TINY]
    assert main([*argv, "--start-after-s", "0"]) == 0

    facts = json.loads(capsys.readouterr().out.splitlines()[1])
    assert facts["stopped"] is True
    assert 0 < facts["packets"] < 300


def test_an_exchange_that_is_ended_before_it_began_took_no_time(listener, capsys):
    def ready(_args, _lines, day):
        assert day is None  # restamped: the day is today's
        os.kill(os.getpid(), signal.SIGINT)
        return "how"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "_how_to_listen", ready)
        argv = ["exchange", "--a", str(listener.address), "--restamp", "--json", *TINY]
        assert main([*argv, "--start-after-s", "30", "--linger-s", "0"]) == 0

    facts = json.loads(capsys.readouterr().out.splitlines()[1])
    assert (facts["elapsed_s"], facts["messages"], facts["stopped"]) == (0.0, 0, True)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--session", "much too long"], "session was"),
        (["--packet-bytes", "20"], "packet_bytes was 20"),
        (["--instruments", "0"], "instruments was 0"),
        (["--speed", "-1"], "speed was"),
        (["--file", "no such file"], "cannot be opened"),
        (["--rerequest", "127.0.0.1"], "has no port"),
    ],
)
def test_what_cannot_be_is_said_before_it_is_ready(listener, capsys, extra, said):
    assert main(["exchange", "--a", str(listener.address), *extra]) == 1

    out, err = capsys.readouterr()
    assert said in err
    assert out == ""


def test_a_fault_while_sending_ends_the_exchange(listener, monkeypatch):
    monkeypatch.setattr(venue_exchange, "AHEAD", 1)
    day = simulate(seconds=0.2, messages_per_s=1000.0, episodes=0).data
    session = session_of("TEST")

    def blocks():
        yield from pack_all([day], session=session)
        raise RuntimeError("planted")

    with (
        pytest.raises(RuntimeError, match="planted"),
        Exchange(blocks(), [listener.address], session=session, speed=0) as exchange,
    ):
        exchange.start()
        exchange.wait(DEADLINE_S)


def test_a_relay_passes_on_and_tells_its_counts(stack, listener, capsys):
    source = free_port()

    def send():
        with open_sender(parse_address(source)) as sender:
            deadline_s = time.monotonic() + DEADLINE_S
            while not is_heard.is_set() and time.monotonic() < deadline_s:
                sender.send(b"hello")
                time.sleep(0.001)

    is_heard = threading.Event()
    sending = threading.Thread(target=send)
    sending.start()
    hearing = threading.Thread(target=lambda: (listener.socket.recv(64), is_heard.set()))
    hearing.start()
    argv = ["relay", "--from", source, "--to", str(listener.address), "--duplicate", "1"]

    assert main([*argv, "--idle-s", "0.5", "--json"]) == 0

    sending.join(DEADLINE_S)
    ready, facts = capsys.readouterr().out.splitlines()
    facts = json.loads(facts)
    assert ready == "ready"
    assert set(COUNTS) < set(facts)
    assert facts["sent"] == 2 * facts["received"] == 2 * facts["duplicated"] > 0
