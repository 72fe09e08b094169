"""Files of ITCH: the recorded ones against their known counts, made-up ones in every wrapping."""

import gzip
import json
import struct
from collections import Counter
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.codecs.itch_driver import Reader, add_order, bodies, mold, prefixed

from onetape.codecs.feed import symbol_of
from onetape.codecs.itch50 import files
from onetape.codecs.itch50.message import decode_message, encode_message
from onetape.codecs.itch50.spec import BODY_BYTES
from onetape.connect.itch_file import ItchFile, midnight_ns, open_itch
from onetape.records import OperatorError, PeerError


def bodies_in(chunks):
    for chunk in chunks:
        data, at = bytes(chunk), 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 2], "big") or int(BODY_BYTES[data[at + 2]])
            yield data[at + 2 : at + 2 + length]
            at += 2 + length


def counts(reader):
    return {chr(i): int(n) for i, n in enumerate(reader.feed["by_type"][0]) if n}


# --- recorded files -------------------------------------------------------------------------------


def test_the_disguised_day_has_its_known_counts(data_file):
    file = open_itch(data_file("itch/ex20101224.TEST_ITCH_50"))
    known = json.loads(data_file("itch/ex20101224.counts.json").read_text())
    assert (file.framing, file.trading_date) == ("length_prefixed", date(2010, 12, 24))

    reader = Reader(file.framing, file.midnight_ns)
    for ts_recv_ns, chunk in file:
        assert ts_recv_ns is None
        assert len(chunk) <= 8192
        reader.packet(chunk)

    assert reader.refused == {}
    assert counts(reader) == known["by_type"]
    assert reader.state("next_sequence") == known["messages"] + 1
    stocks = {i: symbol_of(int(reader.feed["symbols"][0][int(i)])) for i in known["stocks"]}
    assert stocks == known["stocks"]
    times = [event["ts_event_ns"] - file.midnight_ns for event in reader.events]
    assert (times[0], times[-1]) == (known["first_timestamp_ns"], known["last_timestamp_ns"])


def test_the_beginning_of_a_nasdaq_day_has_its_known_counts(data_file):
    file = open_itch(data_file("itch/nasdaq_day_prefix_1000msgs.itch"))

    reader = Reader(file.framing, file.midnight_ns)
    for _, chunk in file:
        reader.packet(chunk)

    assert reader.refused == {}
    assert counts(reader) == {"S": 1, "R": 993, "H": 3, "Y": 3}
    assert file.trading_date == date(1970, 1, 1)


@pytest.mark.parametrize("name", ["ex20101224.TEST_ITCH_50", "nasdaq_day_prefix_1000msgs.itch"])
def test_every_recorded_message_comes_back_byte_for_byte(data_file, name):
    path = data_file(f"itch/{name}")
    n = 0
    for body in bodies_in(chunk for _, chunk in open_itch(path)):
        assert encode_message(decode_message(body)) == body
        n += 2 + len(body)

    assert n == path.stat().st_size


# --- wrappings ------------------------------------------------------------------------------------

DAY = [add_order(order, ts_ns=order) for order in range(1, 2000)]


def pcap_of(payloads, ts_ns=1_548_858_600 * 10**9, port=26400):
    out = [struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1)]
    for i, payload in enumerate(payloads):
        udp = struct.pack(">HHHH", 1000, port, 8 + len(payload), 0) + payload
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 1, 17, 0, b"1234", b"5678")
        packet = bytes(12) + b"\x08\0" + ip + udp
        seconds, rest = divmod(ts_ns + i, 10**9)
        out.append(struct.pack("<IIII", seconds, rest, len(packet), len(packet)) + packet)
    return b"".join(out)


def wrapped(kind):
    if kind.startswith("capture"):
        data = pcap_of([mold(1 + 10 * i, DAY[10 * i : 10 * i + 10]) for i in range(200)])
    elif kind.startswith("zero"):
        data = b"".join(b"\0\0" + body for body in DAY)
    else:
        data = prefixed(DAY)
    return gzip.compress(data) if kind.endswith("gz") else data


KINDS = ["prefixed", "prefixed.gz", "zero", "zero.gz", "capture", "capture.gz"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_wrapping_gives_the_same_events(tmp_path, kind):
    path = tmp_path / "01302019.bin"
    path.write_bytes(wrapped(kind))
    plain = Reader("length_prefixed", midnight_ns(date(2019, 1, 30))).packet(prefixed(DAY))

    file = open_itch(path)

    assert file.framing == ("moldudp64" if kind.startswith("capture") else "length_prefixed")
    for _ in range(2):  # it can be read again
        reader = Reader(file.framing, file.midnight_ns)
        for _, payload in file:
            reader.packet(payload)
        assert reader.events == plain.events
        assert reader.refused == {}


def test_a_capture_gives_its_times_and_the_date_they_fall_on(tmp_path):
    path = tmp_path / "feed.pcap"
    path.write_bytes(pcap_of([mold(1, DAY[:2]), b"not of the feed", mold(3, DAY[2:3])]))

    file = open_itch(path)

    start = 1_548_858_600 * 10**9
    assert [(ts, len(p)) for ts, p in file] == [(start, 96), (start + 1, 15), (start + 2, 58)]
    assert file.trading_date == date(2019, 1, 30)
    assert open_itch(path, trading_date=date(2020, 2, 3)).trading_date == date(2020, 2, 3)
    with pytest.raises(PeerError, match=r"looked at 0 UDP payloads.*3 other port"):
        open_itch(path, port=9)


def test_what_is_no_itch_is_refused_and_says_what_was_found(tmp_path):
    path = tmp_path / "x"
    with pytest.raises(OperatorError, match="x cannot be opened: No such file"):
        open_itch(path)
    path.write_bytes(b"")
    with pytest.raises(OperatorError, match="x is empty"):
        open_itch(path)
    path.write_bytes(b"time,price\n1,2\n")
    with pytest.raises(PeerError, match=r"begins with 74 69 6d 65 2c .*expected a two-byte length"):
        open_itch(path)
    path.write_bytes(pcap_of([b"hello", b"world"]))
    with pytest.raises(PeerError, match="looked at 2 UDP payloads; packets left out: none"):
        open_itch(path)
    path.write_bytes(gzip.compress(prefixed(DAY))[:500])
    with pytest.raises(PeerError, match=r"is damaged.*fetch it again"):
        list(open_itch(path))


def test_a_partial_message_at_the_end_is_delivered_for_the_decoder_to_count(tmp_path):
    path = tmp_path / "day.itch"
    path.write_bytes(prefixed(DAY)[:-5])

    reader = Reader("length_prefixed")
    for _, chunk in open_itch(path):
        reader.packet(chunk)

    assert len(reader.events) == len(DAY) - 1
    assert reader.refused == {"truncated": 1}


def test_a_message_of_unknown_length_ends_the_file_with_an_error(tmp_path):
    path = tmp_path / "day.itch"
    path.write_bytes(prefixed(DAY[:3]) + b"\0\0?" + prefixed(DAY))
    reader = Reader("length_prefixed")

    with pytest.raises(PeerError, match=r"at byte 114 a length of 0 before type b'\?'"):
        for _, chunk in open_itch(path):
            reader.packet(chunk)

    assert len(reader.events) == 3


@given(
    st.lists(bodies, max_size=30),
    st.integers(1, 200),
    st.lists(st.integers(1, 90), max_size=20),
    st.integers(0, 30),
)
def test_chunks_are_whole_messages_however_the_blocks_fall(some, chunk_bytes, sizes, cut):
    data = prefixed(some)
    data = data[: max(0, len(data) - cut)]
    array = np.frombuffer(data, np.uint8)
    blocks, at = [], 0
    for size in [*sizes, len(data)]:
        blocks.append(array[at : at + size])
        at += size

    found = [bytes(chunk) for chunk in files.chunks(blocks, chunk_bytes)]

    assert b"".join(found) == data
    whole = found if found and cut == 0 else found[:-1]
    for chunk in whole:
        parts = list(bodies_in([chunk]))
        assert prefixed(parts) == chunk
        assert len(chunk) <= chunk_bytes or len(parts) == 1


def test_a_chunk_is_filled_as_far_as_whole_messages_go():
    data = np.frombuffer(prefixed([add_order()] * 5), np.uint8)

    assert [len(chunk) for chunk in files.chunks([data], 76)] == [76, 76, 38]
    assert [len(chunk) for chunk in files.chunks([data], 113)] == [76, 76, 38]


def test_the_place_of_the_damage_counts_from_the_beginning_of_the_file():
    data = np.frombuffer(prefixed([add_order()] * 5) + b"\0\0?", np.uint8)

    with pytest.raises(PeerError, match="at byte 190 a length of 0"):
        list(files.chunks([data[:50], data[50:120], data[120:]]))


def test_more_chunks_than_one_call_finds():
    data = np.frombuffer(prefixed([add_order()] * 10_000), np.uint8)

    found = list(files.chunks([data], 1))

    assert Counter(len(chunk) for chunk in found) == {38: 10_000}


# --- dates ----------------------------------------------------------------------------------------

NAMES = [
    ("01302019.NASDAQ_ITCH50", date(2019, 1, 30)),
    ("01302019.NASDAQ_ITCH50.gz", date(2019, 1, 30)),
    ("S101819-v50.txt", date(2019, 10, 18)),
    ("S101819-v50.txt.gz", date(2019, 10, 18)),
    ("20191230.BX_ITCH_50", date(2019, 12, 30)),
    ("ex20101224.TEST_ITCH_50", date(2010, 12, 24)),
    ("12302019.NASDAQ_ITCH50", date(2019, 12, 30)),
    ("99999999.NASDAQ_ITCH50", None),
    ("120191230", None),
    ("S139919-v50.txt", None),
    ("day.itch", None),
]


@pytest.mark.parametrize(("name", "day"), NAMES)
def test_the_date_in_a_name(name, day):
    assert files.trading_date(name) == day


def test_midnight_is_new_yorks():
    assert midnight_ns(date(2019, 1, 30)) == 1_548_824_400 * 10**9  # UTC-5
    assert midnight_ns(date(2019, 7, 1)) == 1_561_953_600 * 10**9  # UTC-4


def test_a_system_without_time_zones_is_told_what_to_install(monkeypatch):
    import zoneinfo

    def missing(name):
        raise zoneinfo.ZoneInfoNotFoundError(name)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", missing)

    with pytest.raises(OperatorError, match="install tzdata"):
        ItchFile("x", "length_prefixed", date(2019, 1, 30), 8192, None)
