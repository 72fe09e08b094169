"""Captures: made-up ones, wrapped and damaged; recorded ones against an independent reader."""

import gzip
import io
import json
import struct
from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.codecs.itch_driver import Reader

from onetape.codecs import pcap
from onetape.codecs.itch50.message import decode_message, encode_message
from onetape.codecs.itch50.spec import BY_LETTER, PRICE4
from onetape.records import PeerError

TS_NS = 1_500_000_000_123_456_789
PAYLOAD = b"the payload"


def read(data, port=None):
    skipped = Counter()
    found = list(pcap.udp_payloads(io.BytesIO(data).read, skipped, port))
    return found, dict(skipped)


def udp(payload=PAYLOAD, port=5000, size=None):
    size = 8 + len(payload) if size is None else size
    return struct.pack(">HHHH", 1, port, size, 0) + payload


def ipv4(inner, options=b"", protocol=17, fragment=0, total=None):
    header = 20 + len(options)
    total = header + len(inner) if total is None else total
    first = 0x40 | header // 4
    return (
        struct.pack(">BBHHHBBH4s4s", first, 0, total, 0, fragment, 1, protocol, 0, b"abcd", b"efgh")
        + options
        + inner
    )


def ipv6(inner, kind=17, extensions=b""):
    size = len(extensions) + len(inner)
    return struct.pack(">IHBB16s16s", 6 << 28, size, kind, 1, b"a" * 16, b"b" * 16) + (
        extensions + inner
    )


def ethernet(packet, kind=0x0800, tags=b""):
    return bytes(12) + tags + struct.pack(">H", kind) + packet


def cooked(packet):
    return bytes(14) + b"\x08\0" + packet


def pcap_file(packets, order="<", magic=0xA1B23C4D, link=1, ts_ns=TS_NS):
    out = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)]
    seconds, fraction = divmod(ts_ns, 10**9)
    if magic == 0xA1B2C3D4:
        fraction //= 1000
    for packet in packets:
        out.append(struct.pack(order + "IIII", seconds, fraction, len(packet), len(packet)))
        out.append(packet)
    return b"".join(out)


def block(kind, body, order="<"):
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + size + body + size


def section(order="<"):
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(order="<", link=1, snap_bytes=0, options=b""):
    return block(1, struct.pack(order + "HHI", link, 0, snap_bytes) + options, order)


def enhanced(packet, order="<", ts=0, number=0, length=None):
    length = len(packet) if length is None else length
    head = struct.pack(order + "IIIII", number, ts >> 32, ts & 0xFFFFFFFF, len(packet), length)
    return block(6, head + packet, order)


PLAIN = ethernet(ipv4(udp()))
LINKS = [
    (1, PLAIN),
    (1, ethernet(ipv4(udp()), tags=b"\x81\0\0\x05")),
    (1, ethernet(ipv4(udp()), tags=b"\x88\xa8\0\x05\x81\0\0\x06")),
    (1, ethernet(ipv4(udp()) + b"\0" * 9)),  # padded to the least size of a frame
    (1, ethernet(ipv4(udp(), options=b"\x94\x04\0\0"))),
    (1, ethernet(ipv6(udp()), kind=0x86DD)),
    (1, ethernet(ipv6(udp(), kind=0, extensions=b"\x11\0" + b"\0" * 6), kind=0x86DD)),
    (1, ethernet(ipv4(udp() + b"\0\0"))),  # the datagram is shorter than the packet
    (113, cooked(ipv4(udp()))),
    (101, ipv4(udp())),
    (101, ipv6(udp())),
    (228, ipv4(udp())),
]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("link", "packet"), LINKS)
def test_the_payload_is_found_in_every_wrapping(order, link, packet):
    assert read(pcap_file([packet, packet], order, link=link)) == ([(TS_NS, PAYLOAD)] * 2, {})
    micro = pcap_file([packet], order, 0xA1B2C3D4, link)
    assert read(micro) == ([(TS_NS // 1000 * 1000, PAYLOAD)], {})
    ng = section(order) + interface(order, link) + enhanced(packet, order, TS_NS // 1000)
    assert read(ng) == ([(TS_NS // 1000 * 1000, PAYLOAD)], {})


def option(code, value, order="<"):
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


RESOLUTIONS = [
    (b"", 5_000_001, 5_000_001_000),
    (option(9, b"\x09"), 5_000_000_001, 5_000_000_001),
    (option(2, b"eth0") + option(9, b"\x03") + option(0, b""), 5001, 5_001_000_000),
    (option(9, b"\x81"), 3, 1_500_000_000),
    (option(9, b"\x09") + option(14, struct.pack("<q", 7)), 1, 7_000_000_001),
]


@pytest.mark.parametrize(("options", "ts", "ts_ns"), RESOLUTIONS)
def test_the_clock_of_an_interface(options, ts, ts_ns):
    data = section() + interface(options=options) + enhanced(PLAIN, ts=ts)

    assert read(data) == ([(ts_ns, PAYLOAD)], {})


def test_sections_simple_packets_and_blocks_of_other_kinds():
    statistics = block(5, bytes(12))
    simple = block(3, struct.pack(">I", len(PLAIN)) + PLAIN, ">")
    data = (
        section() + interface(link=113) + interface() + statistics + enhanced(PLAIN, number=1)
        + section(">") + interface(">") + simple
    )  # fmt: skip

    assert read(data) == ([(0, PAYLOAD), (None, PAYLOAD)], {})


SKIPPED = [
    (1, ethernet(ipv4(udp()), kind=0x0806), "not IP"),
    (1, bytes(13), "link header cut off"),
    (1, bytes(12) + b"\x81\0\0", "link header cut off"),
    (113, bytes(15), "link header cut off"),
    (101, b"", "link header cut off"),
    (147, ipv4(udp()), "unknown link type"),
    (1, ethernet(ipv4(udp(), protocol=6)), "not UDP"),
    (1, ethernet(ipv6(udp(), kind=58), kind=0x86DD), "not UDP"),
    (1, ethernet(ipv4(udp(), fragment=0x2000)), "IP fragment"),
    (1, ethernet(ipv4(udp(), fragment=1)), "IP fragment"),
    (1, ethernet(ipv6(udp(), kind=44, extensions=bytes(8)), kind=0x86DD), "IP fragment"),
    (1, ethernet(ipv4(udp(), total=200)), "bad IP header"),
    (1, ethernet(ipv4(udp(), total=19)), "bad IP header"),
    (1, ethernet(b"\x44" + ipv4(udp())[1:]), "bad IP header"),
    (1, ethernet(ipv4(udp())[:19]), "bad IP header"),
    (1, ethernet(ipv6(udp())[:-1], kind=0x86DD), "bad IP header"),
    (1, ethernet(ipv6(b"", 0, b"\x11\x09" + bytes(6)), kind=0x86DD), "bad IP header"),
    (1, ethernet(ipv4(udp(size=7))), "bad UDP length"),
    (1, ethernet(ipv4(udp(size=100))), "bad UDP length"),
    (1, ethernet(ipv4(b"1234567")), "bad UDP length"),
]  # fmt: skip


@pytest.mark.parametrize(("link", "packet", "reason"), SKIPPED)
def test_a_packet_that_is_no_whole_datagram_is_counted(link, packet, reason):
    data = pcap_file([packet], link=link)

    assert read(data) == ([], {reason: 1})


BREAKS = [
    (pcap_file([PLAIN]) + b"\0" * 7, "file breaks off"),
    (pcap_file([PLAIN, PLAIN])[:-1], "file breaks off"),
    (pcap_file([PLAIN]) + b"\xff" * 99, "file makes no sense"),
    (section() + interface() + enhanced(PLAIN) + b"\6\0\0\0\x10", "file breaks off"),
    (section() + interface() + enhanced(PLAIN) + enhanced(PLAIN)[:-1], "file breaks off"),
    (section() + interface() + enhanced(PLAIN) + b"\6\0\0\0\x0d\0\0\0", "file makes no sense"),
    (section() + interface() + enhanced(PLAIN) + b"\6\0\0\0" * 9, "file makes no sense"),
    (section() + interface() + enhanced(PLAIN) + block(6, bytes(16)), "bad packet block"),
    (section() + interface() + enhanced(PLAIN) + enhanced(PLAIN, number=1), "bad packet block"),
    (
        section()
        + interface()
        + enhanced(PLAIN)
        + block(6, struct.pack("<IIIII", 0, 0, 0, len(PLAIN) + 8, len(PLAIN) + 8) + PLAIN),
        "bad packet block",
    ),
    (
        section()
        + interface()
        + enhanced(PLAIN)
        + block(3, struct.pack("<I", len(PLAIN) + 4) + PLAIN),
        "bad packet block",
    ),
    (section() + interface() + enhanced(PLAIN) + enhanced(PLAIN, ts=2**64 - 1), "bad packet block"),
    (section() + interface() + enhanced(PLAIN) + enhanced(PLAIN, length=999), "cut by the capture"),
    (section() + interface() + enhanced(PLAIN) + block(1, b"1234"), "bad interface block"),
]


@pytest.mark.parametrize(("data", "reason"), BREAKS)
def test_damage_is_counted_and_what_came_before_it_is_kept(data, reason):
    found, skipped = read(data)

    assert [payload for _, payload in found] == [PAYLOAD]
    assert skipped == {reason: 1}


def test_one_port_of_several():
    packets = [ethernet(ipv4(udp(b"a", 1))), ethernet(ipv4(udp(b"b", 2)))]

    assert read(pcap_file(packets), port=2) == ([(TS_NS, b"b")], {"other port": 1})


def test_what_is_no_capture_is_an_error():
    for data in (b"", b"abc", b"hello, world, hello, world"):
        with pytest.raises(PeerError, match="expected the magic number"):
            read(data)
    with pytest.raises(PeerError, match="a pcap file of 10 bytes"):
        read(pcap_file([])[:10])


WHOLE = [
    pcap_file([packet for _, packet in LINKS[:7]]),
    pcap_file([packet for _, packet in LINKS[8:9]], ">", link=113),
    section() + interface(options=option(9, b"\x09")) + enhanced(PLAIN) + enhanced(LINKS[5][1]),
    section(">") + interface(">") + enhanced(LINKS[6][1], ">") + section() + interface(),
]


@given(
    st.sampled_from(WHOLE),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6),
    st.integers(0, 2000),
)
def test_damage_never_raises(data, changes, cut):
    damaged = bytearray(data)
    for at, value in changes:
        damaged[4 + at % (len(data) - 4)] = value
    damaged = damaged[: max(24, len(data) - cut)] if cut % 2 else damaged

    found, _ = read(bytes(damaged))

    assert all(ts_ns is None or 0 <= ts_ns < 2**63 for ts_ns, _ in found)
    assert sum(len(payload) for _, payload in found) <= len(damaged)


# --- recorded captures ----------------------------------------------------------------------------

PREFIX = "nasdaq.nsmequities.totalview.itch.v5.0.2017."
OTHER_NAMES = {
    "side": "buysellindicator",
    "order_reference": "orderreferencenumber",
    "original_order_reference": "originalorderreferencenumber",
    "new_order_reference": "neworderreferencenumber",
    "timestamp_ns": "timestamp",
}


def short(tree):
    """The names of the independent reader without what they all begin with."""
    if isinstance(tree, dict):
        return {name.removeprefix(PREFIX): short(value) for name, value in tree.items()}
    return [short(item) for item in tree] if isinstance(tree, list) else tree


def as_they_print(of, field, value):
    if field.kind == PRICE4:
        return f"{(Decimal(value) / 10_000).normalize():f}"
    if isinstance(value, bytes):
        return value.decode() if field.size_bytes == 1 else value.decode().rstrip()
    return str(value)


@pytest.fixture
def decoded(data_file):
    with gzip.open(data_file("pcap/omi/decoded.json.gz")) as stream:
        return json.load(stream)


def test_recorded_itch_captures_field_by_field(data, decoded):
    names = [name for name in decoded if name.startswith("Nasdaq/") and "Itch" in name]
    seen = 0
    for name in names:
        payloads, skipped = read((data / "pcap/omi" / name).read_bytes())
        expected = decoded[name]["packets"]
        assert skipped == {}
        assert [p.hex() for _, p in payloads] == [packet["payload_hex"] for packet in expected]
        for (ts_ns, payload), packet in zip(payloads, expected, strict=True):
            assert ts_ns == int(Decimal(packet["time_epoch"]) * 10**9)
            (tree,) = short(packet["decoded"]).values()
            head = tree["packetheader_tree"]
            trees = tree["message_tree"]
            trees = trees if isinstance(trees, list) else [trees]
            reader = Reader("moldudp64").packet(payload)
            first = int(head["sequencenumber"])
            assert len(reader.events) == int(head["messagecount"]) == len(trees)
            assert reader.refused == {}
            assert reader.state("gap_messages") == first - 1
            at = 20
            for n, (event, message_tree) in enumerate(zip(reader.events, trees, strict=True)):
                size = int(message_tree["messageheader_tree"]["messagelength"])
                body = payload[at + 2 : at + 2 + size]
                check_message(body, message_tree)
                assert event["sequence"] == first + n
                assert event["kind"] == body[0]
                at += 2 + size
                seen += 1
    assert seen > 40


def check_message(body, tree):
    message = decode_message(body)
    assert encode_message(message) == body
    of = BY_LETTER[tree["messageheader_tree"]["messagetype"]]
    (fields,) = (value for key, value in tree.items() if key.endswith("message_tree"))
    expected = {"messagetype": of.letter} | fields
    for field in of.fields:
        theirs = OTHER_NAMES.get(field.name, field.name.replace("_", ""))
        assert as_they_print(of, field, getattr(message, field.name)) == expected.pop(theirs)
    assert expected == {}
