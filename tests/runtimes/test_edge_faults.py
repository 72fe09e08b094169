"""A bad network changes no answer, or says what it changed. In virtual time; all by a seed.

    ONETAPE_FAULTS=2000 pytest tests/runtimes/test_edge_faults.py

What can be mended (another line, a server to ask) leaves the digests of the batch answer over the
file. What cannot is in a Gap record to the message, and everything after it says STALE.
"""

import os

import pytest
from tests.runtimes.bad_network import MS, Day, Driver, Line, Server, mark, play, watch

from onetape.records.market import GAP_FILLED, GAP_LOST, GAP_OPENED, STALE
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.manifest import write_result
from onetape.runtimes.verify import command as verify
from onetape.sim.venue.faults import Faults
from onetape.sim.venue.packets import session_of

SEEDS = range(1, 1 + int(os.environ.get("ONETAPE_FAULTS", "12")))
DAYS = 4
S = 1000 * MS
WORST = {"lose": 0.05, "duplicate": 0.05, "reorder": 0.05, "corrupt": 0.01}
SPIKES = {"delay_spike": 0.02, "delay_ms": 50.0}


def worst(seed, **other):
    return Faults(seed=seed, **WORST | SPIKES | other)


@pytest.fixture(scope="module")
def driver():
    return Driver(watch())


@pytest.fixture(scope="module")
def day(driver):
    """`day(seed)`: a day; its `digests` and `rows` are the batch answer over the file."""
    made = {}

    def find(seed):
        number = seed % DAYS
        if number not in made:
            made[number] = Day(number)
            made[number].digests, made[number].rows = made[number].answer(driver.pipeline)
        return made[number]

    return find


def check_whole(ran, day):
    """Nothing was lost: the answer is that of the file, and no row says otherwise."""
    assert ran.digests == day.digests
    assert ran.feed["stale"] == 0
    assert ran.feed["messages"] == day.next_sequence - 1
    states = ran.rows["gap"]["state"]
    assert (states == GAP_OPENED).sum() == (states == GAP_FILLED).sum() == len(states) / 2


def check_honest(ran, day):
    """Every message that never came is in a record; what was made without them says STALE."""
    missing = set(range(1, day.next_sequence)) - ran.delivered
    assert ran.lost_numbers() == missing
    assert ran.feed["gap_messages"] == len(missing) == ran.lost["messages_count"].sum()
    assert ran.feed["messages"] == day.next_sequence - 1 - len(missing)
    check_no_wrong_row_is_shown_as_good(ran, day)
    first_lost = min(missing, default=day.next_sequence)
    top, true = ran.rows["top_of_book"], day.rows["top_of_book"]
    is_stale = top["flags"] & STALE != 0
    assert (is_stale == (top["sequence"] > first_lost)).all()
    assert (~is_stale).sum() == (true["sequence"] < first_lost).sum()


def check_no_wrong_row_is_shown_as_good(ran, day):
    """Rows without STALE are the first rows of the true answer, and none follows one with it."""
    for name in ("top_of_book", "vwap", "bar", "alert"):
        rows, true = ran.rows[name], day.rows[name]
        good = int((rows["flags"] & STALE == 0).sum())
        assert (rows["flags"][:good] & STALE == 0).all()
        assert rows[:good].tobytes() == true[:good].tobytes(), name


@pytest.mark.parametrize("seed", SEEDS)
def test_a_bad_line_and_a_server_to_ask_give_the_answer_of_the_file(driver, day, seed):
    ran = play(driver, day(seed), [Line(worst(seed))], Server())

    check_whole(ran, day(seed))
    assert ran.asked > 0
    assert ran.feed["duplicates"] > 0
    if seed < 13:  # a few of the many have no damage to refuse
        assert ran.feed["refused"].sum() > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_without_a_server_all_that_is_missing_is_said(driver, day, seed):
    ran = play(driver, day(seed), [Line(worst(seed))])

    assert ran.feed["gap_messages"] > 0
    check_honest(ran, day(seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_one_lost_message_is_one_record_and_the_books_before_it_are_good(driver, day, seed):
    """A day's own pieces: one datagram in the middle never comes."""
    gone = 100 + 31 * seed % 400
    ran = play(driver, day(seed), [Line(is_up=lambda ordinal: ordinal != gone)])

    check_honest(ran, day(seed))
    assert len(ran.lost) == 1
    assert (ran.rows["top_of_book"]["flags"] & STALE == 0).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_two_bad_lines_that_lose_different_things_need_nobody_to_ask(driver, day, seed):
    lines = [Line(worst(seed, lose=0.0, corrupt=0.0)), Line(worst(seed + 1000))]

    check_whole(play(driver, day(seed), lines), day(seed))


@pytest.mark.parametrize("is_up", [lambda n: False, lambda n: n < 300, lambda n: n % 100 < 50])
@pytest.mark.parametrize("dead", [0, 1])
def test_a_dead_line_beside_a_good_one_is_no_gap(driver, day, is_up, dead):
    lines = [Line(), Line()]
    lines[dead] = Line(is_up=is_up)

    ran = play(driver, day(1), lines)

    check_whole(ran, day(1))
    assert len(ran.rows["gap"]) == 0
    assert ran.feed["line_packets"][dead] < ran.feed["line_packets"][1 - dead]


def test_lines_that_take_turns_in_losing_are_no_loss(driver, day):
    lines = [Line(is_up=lambda n: n % 2 == 0), Line(is_up=lambda n: n % 2 == 1)]

    check_whole(play(driver, day(2), lines), day(2))


@pytest.mark.parametrize("seed", SEEDS)
def test_two_bad_lines_and_a_bad_server(driver, day, seed):
    """Two and three faults at once; the server loses a third of its answers, and is late."""
    server = Server(Faults(seed=seed, lose=0.3, delay_spike=0.3, delay_ms=20), took_ns=5 * MS)
    lines = [Line(worst(seed)), Line(worst(seed + 1000), is_up=lambda n: n < 200)]

    check_whole(play(driver, day(seed), lines, server), day(seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_server_that_goes_away_for_a_while_is_waited_for(driver, day, seed):
    server = Server(is_up=lambda now_ns: not 100 * MS < now_ns < 600 * MS)

    check_whole(play(driver, day(seed), [Line(worst(seed))], server), day(seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_server_that_goes_for_good_leaves_an_honest_stream(driver, day, seed):
    server = Server(is_up=lambda now_ns: now_ns < 100 * MS)

    ran = play(driver, day(seed), [Line(worst(seed))], server)

    assert len(ran.lost) > 0
    check_honest(ran, day(seed))


def test_an_outage_of_all_lines_longer_than_the_idle_limit_is_mended_by_the_server(driver, day):
    """Ticks pass meanwhile; a gap that is known holds back time as it holds back the books."""
    ran = play(driver, day(3), [Line(is_up=lambda n: not 200 <= n < 500)], Server())

    check_whole(ran, day(3))


def test_time_stands_still_while_a_gap_is_open(day):
    """Silence behind a gap: the messages that wait are not late when the gap is filled."""
    patient = Driver(watch(patience="20s"))
    quiet = day(1)
    ran = play(
        patient,
        [Later(quiet, 300, 5 * S)],
        [Line(is_up=lambda n: n != 290)],
        Server(is_up=lambda now_ns: now_ns > 4 * S),
    )

    assert any(kind == 2 for kind, *_ in ran.log)
    assert ran.digests == quiet.digests


def test_messages_given_up_by_a_tick_are_followed_by_messages_that_are_on_time(driver, day):
    """What waited behind the gap comes before the tick's time does."""
    ran = play(driver, Later(day(1), 300, 1500 * MS), [Line(is_up=lambda n: n != 290)])

    check_honest(ran, day(1))
    waited = ran.rows["gap"]["waited_ns"][-1]
    assert waited >= 1 * S
    assert ran.late == 0


class Later(Day):
    """A day that is silent for a while before its datagram `ordinal`."""

    def __init__(self, day, ordinal, by_ns):
        self.__dict__.update(day.__dict__)
        self.sent = [(t + (by_ns if n >= ordinal else 0), d) for n, (t, d) in enumerate(day.sent)]
        self.marks = [(t + by_ns, d) for t, d in day.marks]


def test_what_comes_after_it_was_given_up_changes_nothing_and_is_no_duplicate(day):
    hasty = Driver(watch(patience="5ms"))
    faults = Faults(seed=3, delay_spike=0.02, delay_ms=200.0)

    ran = play(hasty, day(1), [Line(faults)])

    assert ran.feed["gap_messages"] > 0
    assert ran.feed["after_loss"] == ran.feed["gap_messages"]
    assert ran.feed["duplicates"] == 0
    check_no_wrong_row_is_shown_as_good(ran, day(1))


def test_a_delay_is_told_by_how_long_the_gap_waited(driver, day):
    ran = play(driver, day(1), [Line(Faults(seed=1, delay_spike=0.002, delay_ms=50.0))])

    check_whole(ran, day(1))
    assert 20 * MS < ran.rows["gap"]["waited_ns"].max() <= 50 * MS


def test_a_new_session_makes_all_that_follows_stale(driver, day):
    """The books hold what the old session left in them: nobody knows what became of that."""
    again = Day(1, session=session_of("SECOND"))

    ran = play(driver, [day(1), again], [Line(), Line(worst(5))], Server())

    assert ran.feed["sessions"] == 2
    check_no_wrong_row_is_shown_as_good(ran, day(1))
    top = ran.rows["top_of_book"]
    assert (top["flags"] & STALE == 0).sum() == len(day(1).rows["top_of_book"])
    assert (top["flags"] & STALE != 0).any()


def test_an_exchange_that_starts_again_in_the_middle_is_believed_and_stale(driver, day):
    """No end of the old session was said, and messages of it were missing."""
    again = Day(2, session=session_of("SECOND"))
    died = Line(worst(5), is_up=lambda n: n < 300 or n >= len(day(1).sent))

    ran = play(driver, [day(1), again], [died], marks=False)

    assert ran.feed["sessions"] == 2
    check_no_wrong_row_is_shown_as_good(ran, day(1))
    assert ran.feed["stale"] == 1
    assert ran.feed["gap_messages"] == ran.lost["messages_count"].sum()


def test_heartbeats_alone_say_what_is_missing(driver, day):
    """Nothing but heartbeats comes from the middle on; the last says how much was sent."""
    cut = day(1)
    half = len(cut.sent) // 2
    first = int.from_bytes(cut.sent[half][1][10:18], "big")

    ran = play(driver, Marked(cut, 0), [Line(is_up=lambda n: n < half or n >= len(cut.sent))])

    check_honest(ran, cut)
    assert ran.feed["heartbeats"] == 3
    assert [(g["first_sequence"], g["messages_count"]) for g in ran.lost] == [
        (first, cut.next_sequence - first)
    ]


def test_a_heartbeat_mends_a_lost_end_of_session(driver, day):
    """The last datagrams and the end of the session are lost: the server fills in what it can."""
    cut = day(1)
    ran = play(
        driver, Marked(cut, 0), [Line(is_up=lambda n: n < 400 or n >= len(cut.sent))], Server()
    )

    check_whole(ran, cut)
    assert ran.feed["ended"] == 0


def test_what_nothing_speaks_of_cannot_be_known_to_be_lost(driver, day):
    """The tail and everything behind it are lost: what was made is good, and is not the whole."""
    ran = play(driver, day(1), [Line(is_up=lambda n: n < 400)], marks=False, end=False)

    assert len(ran.rows["gap"]) == 0
    check_no_wrong_row_is_shown_as_good(ran, day(1))
    assert 0 < len(ran.rows["top_of_book"]) < len(day(1).rows["top_of_book"])


class Marked(Day):
    """A day whose last packets are of `count`: heartbeats instead of ends."""

    def __init__(self, day, count):
        self.__dict__.update(day.__dict__)
        told = mark(day.next_sequence, count, day.session)
        self.marks = [(t, told) for t, _ in day.marks]


@pytest.mark.parametrize("seed", SEEDS)
def test_damage_of_any_kind_crashes_nothing_and_accounts_for_every_number(driver, day, seed):
    faults = Faults(seed=seed, corrupt=0.3, corrupt_kind="any", lose=0.05)

    ran = play(driver, day(seed), [Line(faults)])

    states = ran.rows["gap"]["state"]
    closed = ((states == GAP_FILLED) | (states == GAP_LOST)).sum()
    assert closed >= (states == GAP_OPENED).sum()
    assert ran.feed["gap_messages"] == ran.lost["messages_count"].sum()
    assert ran.feed["gap_open"] == 0


@pytest.mark.parametrize("has_server", [False, True])
def test_the_tape_of_a_bad_run_gives_the_same_answer_in_every_runtime(
    driver, day, tmp_path, monkeypatch, has_server
):
    """Also which gaps were declared: they are an output, and state."""
    monkeypatch.setattr(verify, "PLAIN_PYTHON_BYTES", 4000)
    ran = play(driver, day(1), [Line(worst(4)), Line(worst(9))], Server() if has_server else None)
    folder = tmp_path / "tape"
    with EdgeNode(driver.pipeline, folder, framing={"itch": "moldudp64"}) as node:
        for kind, source, ts_recv_ns, payload in ran.log:
            while not node.push(payload, source=source, ts_recv_ns=ts_recv_ns, kind=kind):
                list(node.drain())
        list(node.stop())
        events = node.engine.counts().events
    facts = {"digests": ran.every_digest, "state_digest": ran.state, "messages": events}
    write_result(folder, facts)

    equal, facts, lines = verify.verify(driver.pipeline, folder)

    assert equal, lines
    assert [answer["way"] for answer in facts["answers"]][:4] == [
        "live", "replay", "other split", "edge",
    ]  # fmt: skip
    assert len(ran.rows["gap"]) > 0
