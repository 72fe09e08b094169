"""What is known of Kafka without a broker: settings, errors, marks on a tape."""

import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("confluent_kafka", reason="pip install 'onetape[kafka]'")

from tests import servers

from onetape.compiled.frame import CONTROL, DATA, END, READ
from onetape.connect.kafka import topics
from onetape.connect.kafka.bounded import Bounded, Stuck
from onetape.connect.kafka.errors import Heard, problem
from onetape.connect.kafka.events import Gatherer, Spreader, dead_letter
from onetape.connect.kafka.publisher import Publisher
from onetape.connect.kafka.settings import settings
from onetape.connect.kafka.subscriber import Taken
from onetape.connect.kafka.topics import Admin
from onetape.records import IntegrityError, OperatorError
from onetape.runtimes.edge import topic_place
from onetape.runtimes.edge.topic_place import Mark, Place, place_on, read_mark


def error(name, text="why"):
    from confluent_kafka import KafkaError

    return KafkaError(getattr(KafkaError, name), text)


def test_a_name_and_a_password_are_sasl(tmp_path):
    given = {"ONETAPE_KAFKA_USER": "desk", "ONETAPE_KAFKA_PASSWORD": "secret"}

    to = settings("a:1,b:2", environment=given)

    assert to.producer()["security.protocol"] == "SASL_PLAINTEXT"
    assert to.consumer()["sasl.mechanism"] == "SCRAM-SHA-256"
    assert to.admin()["sasl.password"] == "secret"
    assert to.admin()["bootstrap.servers"] == "a:1,b:2"
    assert "secret" not in repr(to)


def test_an_authority_is_tls(tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_text("...")
    given = {"ONETAPE_KAFKA_CA": str(ca), "ONETAPE_KAFKA_USER": "a", "ONETAPE_KAFKA_PASSWORD": "b"}

    assert settings("a:1", environment=given).admin()["security.protocol"] == "SASL_SSL"
    assert settings("a:1", environment={"ONETAPE_KAFKA_CA": str(ca)}).admin()[
        "ssl.ca.location"
    ] == str(ca)


@pytest.mark.parametrize(
    ("brokers", "given", "said"),
    [
        ("localhost", {}, "brokers were 'localhost'; expected HOST:PORT"),
        ("a:1,b", {}, "expected HOST:PORT, more with commas"),
        ("a:99999", {}, "expected HOST:PORT"),
        ("a:1", {"USER": "x"}, "give both ONETAPE_KAFKA_USER and ONETAPE_KAFKA_PASSWORD"),
        ("a:1", {"CERT": "x"}, "give both ONETAPE_KAFKA_CERT and ONETAPE_KAFKA_KEY"),
        ("a:1", {"CA": "/no/such"}, "ONETAPE_KAFKA_CA was '/no/such', which is no file"),
        ("a:1", {"USER": "x", "PASSWORD": "y", "SASL": "MD5"}, "ONETAPE_KAFKA_SASL was 'MD5'"),
    ],
)
def test_settings_that_cannot_be_are_refused(brokers, given, said):
    with pytest.raises(OperatorError, match=said):
        settings(brokers, environment={f"ONETAPE_KAFKA_{n}": v for n, v in given.items()})


def test_a_file_of_options_wins_and_reaches_the_clients_that_know_them(tmp_path, monkeypatch):
    monkeypatch.setenv("DESK_PASSWORD", "of the desk")
    file = tmp_path / "client.conf"
    file.write_text(
        "# ours\nsession.timeout.ms = 7000\nlinger.ms=3\n\nsasl.password = env:DESK_PASSWORD\n"
    )

    to = settings("a:1", file, {})

    assert to.consumer()["session.timeout.ms"] == "7000"
    assert to.producer()["linger.ms"] == "3"
    assert "session.timeout.ms" not in to.producer() and "linger.ms" not in to.consumer()
    assert {"session.timeout.ms", "linger.ms"}.isdisjoint(to.admin())
    assert to.admin()["sasl.password"] == "of the desk"


def test_a_line_that_says_nothing_is_named(tmp_path):
    file = tmp_path / "client.conf"
    file.write_text("linger.ms=3\nnonsense\n")

    with pytest.raises(OperatorError, match=r"client\.conf:2: 'nonsense'; expected NAME = VALUE"):
        settings("a:1", file, {})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("UNKNOWN_TOPIC_OR_PART", "topic t: it is not there"),
        ("TOPIC_AUTHORIZATION_FAILED", "topic t: this user may not use it"),
        ("MSG_SIZE_TOO_LARGE", "larger than it takes"),
        ("_FENCED", "has taken over"),
        ("_TIMED_OUT", "no answer from a:1"),
        ("INVALID_REQUEST", r"why \(INVALID_REQUEST\)"),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(name, said):
    made = problem("topic t", error(name), "a:1")

    assert isinstance(made, OperatorError) and "\n" not in str(made)
    with pytest.raises(OperatorError, match=said):
        raise made


def test_what_was_heard_first_explains_a_time_that_passed():
    heard = Heard()
    heard(error("_TRANSPORT", "a:1/bootstrap: Connect failed: refused"))
    assert "no answer from a:1 (a:1: Connect failed: refused)" in str(
        problem("topic t", error("_TIMED_OUT"), "a:1", heard)
    )

    heard(error("_AUTHENTICATION", "a:1/bootstrap: SASL failed"))
    assert "refuse this name and password" in str(
        problem("topic t", error("_TIMED_OUT"), "a:1", heard)
    )


def test_brokers_that_are_not_there_are_one_line_and_nothing_on_stderr(monkeypatch, capfd):
    monkeypatch.setattr(topics, "WITHIN_S", 1.0)
    nobody = f"127.0.0.1:{servers.free_ports(1)[0]}"

    with pytest.raises(OperatorError, match=f"topic t: no answer from {nobody}") as caught:
        Admin(settings(nobody)).existing("t")

    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_publisher_without_brokers_says_so(monkeypatch, capfd):
    from onetape.connect.kafka import publisher

    monkeypatch.setattr(publisher, "PATIENCE_S", 1.0)
    monkeypatch.setattr(publisher, "CALL_S", 0.5)
    nobody = f"127.0.0.1:{servers.free_ports(1)[0]}"

    with pytest.raises(OperatorError, match=f"transactions of me: no answer from {nobody}"):
        Publisher(settings(nobody), "me")

    assert capfd.readouterr().err == ""


class Come:
    """What a subscriber would give, in takes."""

    def __init__(self, *takes):
        self.takes = list(takes)

    def take(self, timeout_s, at_most):
        return self.takes.pop(0) if self.takes else []


class Letters:
    """Decodes single letters; the row is its number."""

    def rows(self, messages):
        import numpy as np

        good = [m for m in messages if len(m) == 1]
        bad = {i: f"{m!r} is no letter" for i, m in enumerate(messages) if len(m) != 1}
        return np.array([m[0] for m in good]), bad


def taken(offset, value, partition=0):
    return Taken(partition, offset, value, b"k", [("own", b"1")], 1_700_000_000_000)


def test_events_are_gathered_by_count_and_by_time():
    come = [taken(n, bytes([97 + n])) for n in range(5)]
    refused = []
    gatherer = Gatherer(
        Come(come), Letters(), refuse=lambda *a: refused.append(a), events=2, wait_s=3600
    )

    found = gatherer.gather()

    assert [(g.rows.tolist(), g.first, g.next) for g in found] == [
        ([97, 98], 0, 2),
        ([99, 100], 2, 4),
    ]
    assert [(g.rows.tolist(), g.first, g.next) for g in gatherer.rest()] == [([101], 4, 5)]
    assert not refused


def test_what_waits_long_enough_is_handed_over():
    gatherer = Gatherer(
        Come([taken(0, b"a"), taken(7, b"b", 1)]), Letters(), refuse=print, wait_s=0.0
    )

    assert [(g.partition, g.first, g.next) for g in gatherer.gather()] == [(0, 0, 1), (1, 7, 8)]


def test_what_cannot_be_read_is_refused_with_its_reason():
    refused = []
    come = [taken(0, b"a"), taken(1, b"no"), taken(2, b"c")]
    gatherer = Gatherer(Come(come), Letters(), refuse=lambda *a: refused.append(a), events=3)

    (made,) = gatherer.gather()

    assert (made.rows.tolist(), made.first, made.next) == ([97, 99], 0, 3)
    assert refused == [(come[1], "b'no' is no letter")]
    assert gatherer.refused == 1


def test_a_dead_letter_has_the_bytes_the_reason_and_the_place():
    record = dead_letter("dead", "in", taken(7, b"no", 3), "no letter")

    assert (record.topic, record.value, record.key, record.partition) == ("dead", b"no", b"k", -1)
    assert dict(record.headers) == {
        "own": b"1",
        "onetape.reason": b"no letter",
        "onetape.topic": b"in",
        "onetape.partition": b"3",
        "onetape.offset": b"7",
        "onetape.timestamp_ms": b"1700000000000",
    }


def test_rows_are_spread_with_the_instrument_as_key():
    import numpy as np

    rows = np.array([(1, 7), (2, 8)], [("ts_event_ns", "<i8"), ("instrument_id", "<u4")])
    spreader = Spreader("out", {"top": lambda rows: [b"x%d" % t for t in rows["ts_event_ns"]]})

    records = spreader.records("top", rows)

    assert spreader.topics() == ["out.top"]
    assert [(r.topic, r.value, r.key) for r in records] == [
        ("out.top", b"x1", b"7"),
        ("out.top", b"x2", b"8"),
    ]


def test_a_mark_says_what_it_said():
    mark = Mark(3, {0: 10, 2: 7}, {0: 12, 2: 7})

    assert read_mark(mark.payload()) == mark
    for damaged in (b"", b"[]", b'{"ordinal":1}', b'{"ordinal":1,"before":3,"behind":{}}'):
        with pytest.raises(IntegrityError, match="has no offsets"):
            read_mark(damaged)


@pytest.mark.parametrize("back", [1, 2, 64])
def test_the_place_on_a_tape_is_its_last_mark_and_the_frames_behind_it(monkeypatch, back):
    first, second = Mark(1, {0: 5}, {0: 6}), Mark(2, {0: 6}, {0: 7})
    tape = [
        (READ, first.payload()), (DATA, b""), (DATA, b""), (READ, second.payload()), (DATA, b""),
        (CONTROL, b"{}"), (END, b""),
    ]  # fmt: skip
    monkeypatch.setattr(topic_place, "LOOK_BACK", back)
    monkeypatch.setattr(
        topic_place,
        "frames",
        lambda folder, start: ((SimpleNamespace(kind=k), p) for k, p in tape[start:]),
    )

    assert place_on("tape", 0, len(tape)) == Place(second, 2)
    del tape[3:]
    assert place_on("tape", 0, len(tape)) == Place(first, 2)
    assert place_on("tape", 1, len(tape)) is None


def test_a_call_that_does_not_come_back_is_left_behind():
    bounded, release = Bounded(), threading.Event()

    assert bounded(divmod, 5.0, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        bounded(divmod, 5.0, 7, 0)
    with pytest.raises(Stuck):
        bounded(release.wait, 0.01, 60.0)
    assert bounded(divmod, 5.0, 9, 4) == (2, 1)

    release.set()
    bounded.close()
