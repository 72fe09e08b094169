"""What a node says of itself: silence, requests without an answer, what is missing or held."""

import os
import signal
import threading
import time

import pytest
from tests.codecs.itch_driver import add_order, mold

from onetape import cli
from onetape.codecs.feed import new_feed
from onetape.connect.udp import open_receiver, open_sender, parse_address
from onetape.engine import Pipeline
from onetape.market.feed import source
from onetape.records import OperatorError
from onetape.runtimes import progress
from onetape.runtimes.edge import live
from onetape.runtimes.edge.network import Network
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.listen import Requests, gaps_text
from onetape.runtimes.run.options import check_tape
from onetape.runtimes.top import state_of

DEADLINE_S = 240.0  # a busy machine may compile so long
SECOND = 10**9
NOON_NS = 12 * 3600 * SECOND


def feed(**fields):
    block = new_feed()
    for name, value in fields.items():
        block[name] = value
    return live.feed_facts(block)


def facts(heard_s, *, began_s=0, now_s=100, unanswered=0, **fields):
    """Of a node whose lines were last heard at these times; None: never."""
    return {
        "ts_ns": now_s * SECOND,
        "began_ns": began_s * SECOND,
        "lines": [
            {"name": name, "heard_ns": 0 if at is None else round(at * SECOND)}
            for name, at in heard_s.items()
        ],
        "sources": {"itch": feed(**fields)},
        "rerequest": "127.0.0.1:5001",
        "unanswered": unanswered,
    }


def test_a_line_that_has_brought_nothing_for_a_while_is_silent():
    said = live.lines_silent(facts({"A": 88, "B": 99.5, "C": None, "asked": None}, began_s=90))

    assert said == {"A": "no datagram for 12 s", "C": "no datagram yet for 10 s"}


def test_a_feed_that_has_ended_is_not_silent():
    assert live.lines_silent(facts({"A": 1}, ended=1)) == {}


def test_a_feed_is_silent_when_all_of_its_lines_are():
    one, both = facts({"A": 1, "B": 99}), facts({"A": 1, "B": 2, "asked": 99})

    assert state_of(one, one["sources"]["itch"]) == "whole"
    assert state_of(both, both["sources"]["itch"]) == "silent"
    assert state_of(both, feed(stale=1, gap_open=1)) == "stale, waiting, silent"


def test_missing_is_what_has_not_come_and_held_what_waits_for_it():
    waiting = feed(next_sequence=5, highest_sequence=20, held=10, gap_open=1, gaps=1)

    assert (waiting["missing"], waiting["held"], waiting["repaired"]) == (5, 10, 0)


def test_gaps_that_were_repaired_are_told_apart_from_messages_that_were_lost():
    some = feed(gaps=9, losses=2, gap_messages=40, gap_open=1, sessions=1, duplicates=3)

    assert gaps_text(some) == "9 gaps, 6 of them repaired; 40 messages lost; 3 duplicates"
    assert gaps_text(feed()) == "no gaps; 0 duplicates"
    assert "repaired" not in gaps_text(feed(gaps=9, sessions=2))


def test_requests_without_an_answer_name_who_was_asked_and_what_follows():
    assert live.unanswered_text(facts({})) == ""
    assert live.unanswered_text(facts({}, unanswered=1200, patience_ns=SECOND // 2)) == (
        "asked 1,200 times, no answer from 127.0.0.1:5001: each gap waits for its patience "
        "(0.5 s), then its messages are lost"
    )


class Asking:
    """As much of a node as `Requests` looks at."""

    def __init__(self):
        self.asked = self.answers = 0

    def statistics(self):
        return {"asked": self.asked}

    def line_statistics(self):
        return [{"name": "A", "packets": 7}, {"name": "asked", "packets": self.answers}]


def test_a_request_counts_as_unanswered_when_a_look_has_passed_without_an_answer():
    node = Asking()
    requests = Requests(node)

    def look(asked, answers):
        node.asked, node.answers = asked, answers
        requests.look()
        return requests.unanswered

    assert look(3, 0) == 3  # nobody has ever answered
    assert look(9, 2) == 0
    assert look(12, 2) == 0  # the answers may be under way
    assert look(12, 2) == 3
    assert look(12, 3) == 0


@pytest.mark.parametrize(("ahead_h", "is_known"), [(0, True), (2, False), (-2, False)])
def test_lag_is_told_only_of_events_that_this_clock_can_have_seen(tmp_path, ahead_h, is_known):
    any_port = parse_address("127.0.0.1:0")
    ts_ns = NOON_NS + ahead_h * 3600 * SECOND
    with (
        Network([any_port]) as network,
        open_sender(network.receivers[0].address) as sender,
        EdgeNode(
            Pipeline(top=source("itch").top_of_book()),
            tmp_path / "tape",
            framing={"itch": "moldudp64"},
            midnight_ns=time.time_ns() - NOON_NS,
            **network.options(),
        ) as node,
    ):
        sender.send(mold(1, [add_order(1, ts_ns=ts_ns)]))
        deadline_s = time.monotonic() + DEADLINE_S
        while node.engine.counts().events == 0 or not node.is_idle():
            assert time.monotonic() < deadline_s
            list(node.drain())
            time.sleep(0.001)
        lag_ns = live.snapshot(node, network)["latency_ns"]["lag"]

    assert (lag_ns is not None) == is_known


def test_a_live_run_that_ctrl_c_ends_is_done(tmp_path, capfd):
    """Its lines come in their order, and while it runs its tape is nobody else's."""
    tape, refused = tmp_path / "tape", []

    def press():
        deadline_s = time.monotonic() + DEADLINE_S
        while not (tape / live.FILE).exists() and time.monotonic() < deadline_s:
            time.sleep(0.01)
        try:
            check_tape(tape, resume=False)
        except OperatorError as why:
            refused.append(str(why))
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    argv = ["run", "standard", "--udp", "127.0.0.1:0", "--tape", str(tape)]
    assert cli.main(argv) == 0
    pressing.join()

    out, err = capfd.readouterr()
    slow = ("compiled", "loaded", "onetape: line A is silent")  # said on a busy machine only
    said = [line for line in err.splitlines() if not line.startswith(slow)]
    assert [line[:20] for line in said] == ["sockets are open at ", "listening at 127.0.0"]
    assert "ended by Ctrl-C" in out
    assert refused == [
        f"{tape} is the tape of a run that goes on (pid {os.getpid()}): watch it with onetape top "
        f"{tape}, end it with kill {os.getpid()}, or give a new folder"
    ]


def test_what_was_found_on_disk_was_not_compiled(capsys, monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    made = iter([4, 4, 4, 5])  # of two starts: before and after
    monkeypatch.setattr(progress, "compiled_count", lambda: next(made))

    for _ in range(2):
        shown = progress.Progress()
        monkeypatch.setattr(shown, "_count", lambda _done: None)
        with shown.compiling():
            pass

    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("loaded from the cache in ")
    assert second.startswith("compiled in ")


def test_a_port_that_is_taken_says_so():
    with (
        open_receiver(parse_address("localhost:0")) as one,
        pytest.raises(OperatorError, match="another process has it"),
    ):
        open_receiver(one.address)
