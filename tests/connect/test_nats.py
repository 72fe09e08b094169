"""NATS JetStream: blocks in order and once, rows behind those that are there, whoever dies when."""

import json
import shutil
import subprocess
import time
from contextlib import closing

import numpy as np
import pytest
from tests import servers
from tests.connect.test_sinks import origins, wait_for

import onetape as ot
from onetape.codecs.block import FRAMES, MANIFEST, Header, encode, encode_json, read_header
from onetape.connect.nats import streams
from onetape.connect.nats.link import Away, Link, Overtaken
from onetape.connect.nats.publisher import publish_blocks
from onetape.connect.nats.reader import shard_reader
from onetape.connect.nats.settings import settings
from onetape.connect.nats.writing import publish_end
from onetape.connect.sinks import outbox
from onetape.connect.sinks.taking import Output
from onetape.engine.blocks import rows_of
from onetape.records import DeclarationError, OperatorError
from onetape.records.market import Trade

LIMIT_S = 60


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(outbox, "PAUSE_S", 0.02)
    monkeypatch.setattr(outbox, "PAUSE_MAX_S", 0.5)
    for name in ("USER", "PASSWORD", "TOKEN", "CA", "CERT", "KEY"):
        monkeypatch.delenv(f"ONETAPE_NATS_{name}", raising=False)


@pytest.fixture
def link(nats):
    with Link(settings(nats.address)) as made:
        yield made


def blocks(count, shard=0):
    yield shard, encode_json(Header(MANIFEST, shard), {"sources": ["itch"]})
    for n in range(1, count):
        yield shard, encode(Header(FRAMES, shard, ordinal=n, count=1), b"%d" % n * 100)


def read_all(link, stream, count, tape, after=0):
    """(sequence, ordinal) of so many blocks behind the first."""
    made, end_s = [], time.monotonic() + LIMIT_S
    with closing(shard_reader(link, stream, 0, tape)) as reader:
        assert read_header(reader.first()).kind == MANIFEST
        reader.begin(after)
        while len(made) < count:
            assert time.monotonic() < end_s, f"{len(made)} blocks of {count}: {reader.trouble()}"
            made += [(at, read_header(block).ordinal) for at, block in reader.read(0.1)]
    return made


# --- without a server -----------------------------------------------------------------------------


def test_who_we_are_is_in_the_environment():
    assert settings("nats://desk:4222", {}).options == {}
    known = {"ONETAPE_NATS_USER": "desk", "ONETAPE_NATS_PASSWORD": "of-a-test"}
    made = settings("nats://desk:4222", known)
    assert made.options == {"user": "desk", "password": "of-a-test"}
    assert "of-a-test" not in repr(made)
    assert settings("tls://desk:4222", {"ONETAPE_NATS_TOKEN": "t"}).options == {"token": "t"}


@pytest.mark.parametrize(
    "url, known, message",
    [
        ("desk:4222", {}, "expected nats://HOST:PORT"),
        ("nats://me:word@desk:4222", {}, "names and passwords go into ONETAPE_NATS_USER"),
        ("nats://desk:4222", {"USER": "a"}, "both ONETAPE_NATS_USER and ONETAPE_NATS_PASSWORD"),
        ("nats://desk:4222", {"USER": "a", "PASSWORD": "b", "TOKEN": "c"}, "not both"),
        ("nats://desk:4222", {"CA": "/nowhere"}, "which is no file"),
    ],
)
def test_what_cannot_be(url, known, message):
    with pytest.raises(OperatorError, match=message):
        settings(url, {f"ONETAPE_NATS_{name}": value for name, value in known.items()})


@pytest.mark.parametrize("url, stream", [("desk", "A"), ("nats://desk:4222", "A.B")])
def test_what_is_no_sink(url, stream):
    with pytest.raises(DeclarationError):
        ot.nats(url, stream)


def test_nobody_there_is_said():
    pytest.importorskip("nats")
    (port,) = servers.free_ports(1)
    with pytest.raises(Away, match=f"no answer from NATS at nats://127.0.0.1:{port}"):
        Link(settings(f"nats://127.0.0.1:{port}"))


# --- streams --------------------------------------------------------------------------------------


def test_blocks_come_back_in_order_and_from_a_place_on(link, tmp_path):
    made = publish_blocks(link, "ORDER", blocks(40))
    assert (made.blocks, made.there_before) == (40, 0)

    came = read_all(link, "ORDER", 39, tmp_path)
    assert [ordinal for _, ordinal in came] == list(range(1, 40))
    again = read_all(link, "ORDER", 9, tmp_path, after=came[29][0])
    assert again == came[30:]


def test_a_publisher_that_was_cut_short_goes_on(link, tmp_path):
    publish_blocks(link, "CUT", list(blocks(40))[:17])
    made = publish_blocks(link, "CUT", blocks(40))

    assert (made.blocks, made.there_before) == (23, 17)
    assert [n for _, n in read_all(link, "CUT", 39, tmp_path)] == list(range(1, 40))


def test_another_input_is_refused(link):
    publish_blocks(link, "ONE", blocks(3))
    other = [(0, encode_json(Header(MANIFEST), {"sources": ["fix"]}))]
    with pytest.raises(OperatorError, match="stream ONE holds another input"):
        publish_blocks(link, "ONE", other)


def test_a_message_goes_behind_the_one_that_was_named_or_nowhere(link):
    streams.ensure(link, "BEHIND")
    first = streams.publish(link, "BEHIND", "BEHIND.shard.0", b"a", after=0, key="a")
    with pytest.raises(Overtaken):
        streams.publish(link, "BEHIND", "BEHIND.shard.0", b"b", after=0, key="b")
    with pytest.raises(Overtaken):  # a double, by its key
        streams.publish(link, "BEHIND", "BEHIND.shard.0", b"a", after=0, key="a")
    streams.publish(link, "BEHIND", "BEHIND.shard.0", b"c", after=first, key="c", rows="7")

    found = streams.last(link, "BEHIND", "BEHIND.shard.0")
    assert (found.data, found.headers["Onetape-Rows"]) == (b"c", "7")
    assert streams.last(link, "BEHIND", "BEHIND.shard.9").sequence == 0


def test_a_stream_that_drops_messages_is_refused(link):
    link.call(link.js.add_stream(name="SHORT", subjects=["SHORT.shard.>"], max_msgs=5))
    with pytest.raises(OperatorError, match="SHORT does not keep what it is given"):
        streams.ensure(link, "SHORT")
    with pytest.raises(OperatorError, match="there is no stream NOWHERE"):
        streams.existing(link, "NOWHERE", keeps=True)


def test_acknowledged_is_what_is_kept(link, tmp_path):
    publish_blocks(link, "KEPT", blocks(12))
    with closing(shard_reader(link, "KEPT", 0, tmp_path)) as reader:
        reader.first()
        reader.begin(0)
        came = []
        while len(came) < 11:
            came += [at for at, _ in reader.read(0.1)]
        reader.keep(came[6])

        def floor():
            return link.call(link.js.consumer_info("KEPT", reader.consumer)).ack_floor.stream_seq

        wait_for(lambda: floor() == came[6])


# --- rows -----------------------------------------------------------------------------------------


def output(folder=None, name="trade"):
    return Output(name, Trade, {1: "AAPL"}, {}, None, folder)


def trades(first, count):
    rows = np.zeros(count, Trade.dtype)
    rows["ts_event_ns"] = rows["price_ticks"] = np.arange(first, first + count)
    rows["instrument_id"] = 1
    return rows


def deliver(sink, where, first=0, count=10):
    taker = sink.open(where)
    taker.take(trades(first, count), origins(first, count))
    taker.finish()
    taker.close()
    return taker


def messages(link, subject):
    stream, made, sequence = subject.partition(".")[0], [], 0
    while True:
        found = streams._message(link, stream, seq=sequence + 1, subject=subject, next=True)
        if not found.sequence:
            return made
        sequence = found.sequence
        made.append(found)


def test_events_for_others_are_json_and_there_once(nats, link, tmp_path):
    sink = ot.nats(nats.address, "EVENTS")
    for _ in range(2):
        deliver(sink, output(tmp_path))
        (tmp_path / "trade-0.delivered").unlink()

    came = messages(link, "EVENTS.event.trade")
    assert [json.loads(each.data)["price_ticks"] for each in came] == list(range(10))
    told = json.loads(came[0].data)
    assert (told["symbol"], told["key"]) == ("AAPL", "trade-0-0-0-0-0-0")
    assert "Nats-Msg-Id" in came[0].headers


def test_blocks_of_rows_go_on_behind_those_that_are_there(nats, link, tmp_path):
    sink = ot.nats(nats.address, "ROWS", events=False)
    deliver(sink, output(tmp_path), 0, 10)
    (tmp_path / "trade-0.delivered").unlink()
    deliver(sink, output(tmp_path), 0, 25)  # the run is resumed: all rows are made again

    came = [rows_of(each.data, Trade) for each in messages(link, "ROWS.shard.0.trade")]
    assert [header.ordinal for header, _, _ in came] == [0, 1]
    assert np.concatenate([rows for _, rows, _ in came]).tolist() == trades(0, 25).tolist()
    assert publish_end(link, "ROWS", {"trade": 26}, {}) is False
    assert publish_end(link, "ROWS", {"trade": 25}, {"state_digest": ""}) is True
    assert publish_end(link, "ROWS", {"trade": 25}, {"state_digest": ""}) is True
    assert len(messages(link, "ROWS.shard.0")) == 1


def test_rows_of_another_run_are_refused(nats, link, tmp_path, monkeypatch):
    sink = ot.nats(nats.address, "TWICE", events=False)
    deliver(sink, output(tmp_path / "a"))
    monkeypatch.setattr(outbox, "LAST_TRY_S", 0.5)
    taker = deliver(sink, output(tmp_path / "b"))

    assert "TWICE.shard.0.trade has rows of another run" in taker.told()
    assert len(messages(link, "TWICE.shard.0.trade")) == 1


# --- who may, and TLS -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization, known",
    [
        ('{ token: "of-a-test" }', {"TOKEN": "of-a-test"}),
        ('{ user: "desk", password: "word" }', {"USER": "desk", "PASSWORD": "word"}),
    ],
)
def test_a_token_or_a_password(authorization, known, monkeypatch):
    own = start_guarded(f"authorization={authorization}")
    try:
        given = {f"ONETAPE_NATS_{name}": value for name, value in known.items()}
        with Link(settings(own.address, given)) as link:
            assert streams.ensure(link, "LET_IN")
        with pytest.raises(OperatorError, match="refuses who we are"):
            Link(settings(own.address, {}))
    finally:
        own.stop()


def test_tls(tmp_path):
    if not shutil.which("openssl"):
        pytest.skip("needs openssl, to make a certificate")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj"]
    made += ["/CN=localhost", "-addext", names, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(made, check=True, capture_output=True)
    own = start_guarded(f'tls={{ cert_file: "{cert}", key_file: "{key}" }}')
    try:
        with Link(settings(own.address, {"ONETAPE_NATS_CA": str(cert)})) as link:
            assert streams.ensure(link, "SAFE")
        with pytest.raises(OperatorError, match="is ONETAPE_NATS_CA its authority"):
            Link(settings(own.address.replace("nats:", "tls:"), {}))
    finally:
        own.stop()


def start_guarded(setting):
    """A server of which a plain client cannot ask whether it is there: wait for its port."""
    name, _, value = setting.partition("=")
    return servers.start("nats", settings={name: value})


# --- kill -9 --------------------------------------------------------------------------------------


def test_a_server_that_is_killed_loses_and_doubles_no_block(tmp_path):
    own = servers.start("nats")
    try:
        with Link(settings(own.address)) as link:
            publish_blocks(link, "KILLED", list(blocks(400))[:100])
            came = []
            with closing(shard_reader(link, "KILLED", 0, tmp_path)) as reader:
                reader.first()
                reader.begin(0)
                for upto in (200, 300, 400):
                    while len(came) < upto - 150:
                        came += [read_header(block).ordinal for _, block in reader.read(0.1)]
                    own.restart()
                    publish_blocks(link, "KILLED", list(blocks(400))[:upto])
                end_s = time.monotonic() + LIMIT_S
                while len(came) < 399:
                    assert time.monotonic() < end_s, f"{len(came)}: {reader.trouble()}"
                    came += [read_header(block).ordinal for _, block in reader.read(0.1)]
        assert came == list(range(1, 400))
    finally:
        own.stop()


def test_a_server_that_is_killed_loses_and_doubles_no_row(tmp_path, monkeypatch):
    monkeypatch.setattr("onetape.connect.nats.writing.ROWS_AT_ONCE", 50)
    monkeypatch.setattr("onetape.connect.nats.link.CALL_S", 2.0)
    own = servers.start("nats")
    try:
        taker = ot.nats(own.address, "ROWS", events=False).open(output(tmp_path))
        at = 0
        for _ in range(3):
            taker.take(trades(at, 1_000), origins(at, 1_000))
            at += 1_000
            before = taker.delivered
            wait_for(lambda before=before: taker.delivered > before)
            own.kill()
            failures = taker.failures
            wait_for(lambda failures=failures: taker.failures > failures or not taker.waiting())
            own.restart()
        end_s = time.monotonic() + LIMIT_S
        while taker.waiting():
            assert time.monotonic() < end_s, taker.told()
            time.sleep(0.02)
        taker.close()

        with Link(settings(own.address)) as link:
            came = [rows_of(each.data, Trade) for each in messages(link, "ROWS.shard.0.trade")]
        assert [header.ordinal for header, _, _ in came] == list(range(len(came)))
        assert np.concatenate([rows for _, rows, _ in came]).tolist() == trades(0, at).tolist()
    finally:
        own.stop()
