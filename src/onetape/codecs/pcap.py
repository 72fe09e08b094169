"""Captures (pcap and pcapng) to the UDP payloads in them, each with its capture time.

Reads through a function, `read(n) -> at most n bytes`, so a capture of any size needs the memory
of one packet. A packet that is no complete UDP datagram over IP is left out and counted under its
reason in `skipped`; a file that breaks off or makes no sense from some point on ends there, and
is counted too. Checksums are not looked at (network cards fill them in after the capture point).

    pcap     24 bytes: magic, version, zone, snap length, link type; then 16 bytes a packet and it
    pcapng   blocks: type, length, body, length again; section header, interfaces, packets
    link     Ethernet (VLAN tags nested), Linux cooked v1, raw IP
    network  IPv4 (options; fragments are skipped), IPv6 (extension headers)

About 1.2 us a packet.
Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng, RFC 791, 8200, 768.
"""

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from onetape.records import PeerError

Read = Callable[[int], bytes]
Payload = tuple[int | None, bytes]

PACKET_BYTES_MAX = 1 << 20  # a capture with a longer packet is damaged
BLOCK_BYTES_MAX = 1 << 24  # the same for a block of pcapng

PCAP_MAGIC = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1}  # ns in a unit of its fractions
SECTION, INTERFACE, SIMPLE_PACKET, ENHANCED_PACKET = 0x0A0D0D0A, 1, 3, 6
PCAPNG_ORDER = 0x1A2B3C4D

ETHERNET, LINUX_COOKED = 1, 113
RAW_IP = (12, 14, 101, 228, 229)
VLAN_TYPES = (0x8100, 0x88A8, 0x9100)
IPV4, IPV6, UDP = 0x0800, 0x86DD, 17
IPV6_EXTENSIONS = (0, 43, 60)  # hop-by-hop, routing, destination options
IPV6_FRAGMENT = 44


def is_capture(head: bytes) -> bool:
    """Do these first bytes (4 at least) begin a pcap or pcapng file?"""
    big, little = struct.unpack(">I", head[:4])[0], struct.unpack("<I", head[:4])[0]
    return big in PCAP_MAGIC or little in PCAP_MAGIC or big == SECTION


def udp_payloads(read: Read, skipped: Counter[str], port: int | None = None) -> Iterator[Payload]:
    """(capture time in UTC ns or None, payload) of each UDP datagram, to `port` if one is given.

    PeerError only when the bytes do not begin a capture.
    """
    for ts_ns, link, packet, length in packets(read, skipped):
        if length > len(packet):
            skipped["cut by the capture"] += 1
            continue
        network = _network(link, packet)
        found = network if isinstance(network, str) else _udp(*network)
        if isinstance(found, str):
            skipped[found] += 1
        elif port is None or found[0] == port:
            yield ts_ns, found[1]
        else:
            skipped["other port"] += 1


def packets(read: Read, skipped: Counter[str]) -> Iterator[tuple[int | None, int, bytes, int]]:
    """(capture time, link type, packet as captured, its length on the wire) of each packet."""
    head = read(4)
    if len(head) < 4 or not is_capture(head):
        raise PeerError(f"a capture began with {head!r}; expected the magic number of pcap(ng)")
    if struct.unpack(">I", head)[0] == SECTION:
        yield from _pcapng(read, skipped)
    else:
        yield from _pcap(head, read, skipped)


def _pcap(head: bytes, read: Read, skipped: Counter[str]) -> Iterator[tuple[int, int, bytes, int]]:
    order = ">" if struct.unpack(">I", head)[0] in PCAP_MAGIC else "<"
    unit_ns = PCAP_MAGIC[struct.unpack(order + "I", head)[0]]
    rest = read(20)
    if len(rest) < 20:
        raise PeerError(f"a pcap file of {4 + len(rest)} bytes; expected a header of 24")
    link = struct.unpack(order + "I", rest[16:])[0] & 0xFFFFFFF
    header = struct.Struct(order + "IIII")
    while found := read(16):
        if len(found) < 16:
            skipped["file breaks off"] += 1
            return
        seconds, fraction, size, length = header.unpack(found)
        if size > PACKET_BYTES_MAX:
            skipped["file makes no sense"] += 1
            return
        packet = read(size)
        if len(packet) < size:
            skipped["file breaks off"] += 1
            return
        yield seconds * 10**9 + fraction * unit_ns, link, packet, length


def _pcapng(read: Read, skipped: Counter[str]) -> Iterator[tuple[int | None, int, bytes, int]]:
    order = ""
    interfaces: list[tuple[int, int, int, int]] = []  # link type, snap length, units/s, offset in s
    kind_raw = struct.pack(">I", SECTION)
    while kind_raw:
        head = kind_raw + read(4)
        if len(head) < 8:
            skipped["file breaks off"] += 1
            return
        start = b""
        if head[:4] == struct.pack(">I", SECTION):  # the same in both byte orders
            start = read(4)
            order = ">" if start == struct.pack(">I", PCAPNG_ORDER) else "<"
            interfaces = []
            if start != struct.pack(order + "I", PCAPNG_ORDER):
                skipped["file makes no sense"] += 1
                return
        kind, size = struct.unpack(order + "II", head)
        if size % 4 or not 12 + len(start) <= size <= BLOCK_BYTES_MAX:
            skipped["file makes no sense"] += 1
            return
        body = start + read(size - 8 - len(start))
        if len(body) < size - 8:
            skipped["file breaks off"] += 1
            return
        if body[-4:] != head[4:]:
            skipped["file makes no sense"] += 1
            return
        found = _block(kind, body[:-4], order, interfaces)
        if isinstance(found, str):
            skipped[found] += 1
        elif found is not None:
            yield found
        kind_raw = read(4)


def _block(
    kind: int, body: bytes, order: str, interfaces: list[tuple[int, int, int, int]]
) -> tuple[int | None, int, bytes, int] | str | None:
    """A packet, the reason why it is none, or None for a block that is about something else."""
    if kind == INTERFACE:
        if len(body) < 8:
            interfaces.append((-1, 0, 1, 0))  # keeps the numbers of the ones after it
            return "bad interface block"
        link, snap_bytes = struct.unpack_from(order + "HxxI", body)
        interfaces.append((link, snap_bytes, *_resolution(body[8:], order)))
    elif kind == ENHANCED_PACKET:
        if len(body) < 20:
            return "bad packet block"
        number, high, low, size, length = struct.unpack_from(order + "IIIII", body)
        if number >= len(interfaces) or size > len(body) - 20:
            return "bad packet block"
        link, _, units, offset_s = interfaces[number]
        ts_ns = (high << 32 | low) * 10**9 // units + offset_s * 10**9
        if not 0 <= ts_ns < 1 << 63:
            return "bad packet block"
        return ts_ns, link, body[20 : 20 + size], length
    elif kind == SIMPLE_PACKET:
        if len(body) < 4 or not interfaces:
            return "bad packet block"
        link, snap_bytes, _, _ = interfaces[0]
        (length,) = struct.unpack_from(order + "I", body)
        size = min(length, snap_bytes or length)
        if size > len(body) - 4:
            return "bad packet block"
        return None, link, body[4 : 4 + size], length
    return None


def _resolution(options: bytes, order: str) -> tuple[int, int]:
    """(units a second, offset in s) of an interface's clock; microseconds unless it says so."""
    units, offset_s, at = 10**6, 0, 0
    while at + 4 <= len(options):
        code, size = struct.unpack_from(order + "HH", options, at)
        value = options[at + 4 : at + 4 + size]
        if code == 9 and len(value) == 1:
            units = 2 ** (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
        elif code == 14 and len(value) == 8:
            (offset_s,) = struct.unpack(order + "q", value)
        elif code == 0:
            break
        at += 4 + (size + 3) // 4 * 4
    return units, offset_s


def _network(link: int, packet: bytes) -> tuple[int, bytes] | str:
    """(EtherType, network packet), or why there is none."""
    if link == ETHERNET:
        at = 12
        while at + 2 <= len(packet):
            kind = packet[at] << 8 | packet[at + 1]
            if kind not in VLAN_TYPES:
                return kind, packet[at + 2 :]
            at += 4
        return "link header cut off"
    if link == LINUX_COOKED:
        if len(packet) < 16:
            return "link header cut off"
        return packet[14] << 8 | packet[15], packet[16:]
    if link in RAW_IP:
        if not packet:
            return "link header cut off"
        return {4: IPV4, 6: IPV6}.get(packet[0] >> 4, 0), packet
    return "unknown link type"


def _udp(kind: int, packet: bytes) -> tuple[int, bytes] | str:
    """(destination port, payload) of the datagram in a network packet, or why there is none."""
    if kind == IPV4:
        datagram: Any = _of_ipv4(packet)
    elif kind == IPV6:
        datagram = _of_ipv6(packet)
    else:
        return "not IP"
    if isinstance(datagram, str):
        return datagram
    if len(datagram) < 8:
        return "bad UDP length"
    size = datagram[4] << 8 | datagram[5]
    if not 8 <= size <= len(datagram):
        return "bad UDP length"
    return datagram[2] << 8 | datagram[3], datagram[8:size]


def _of_ipv4(packet: bytes) -> bytes | str:
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return "bad IP header"
    header, total = (packet[0] & 15) * 4, packet[2] << 8 | packet[3]
    if header < 20 or not header <= total <= len(packet):
        return "bad IP header"
    if (packet[6] << 8 | packet[7]) & 0x3FFF:  # more fragments, or not the first
        return "IP fragment"
    return packet[header:total] if packet[9] == UDP else "not UDP"


def _of_ipv6(packet: bytes) -> bytes | str:
    if len(packet) < 40 or packet[0] >> 4 != 6:
        return "bad IP header"
    end, kind, at = 40 + (packet[4] << 8 | packet[5]), packet[6], 40
    if end > len(packet):
        return "bad IP header"
    while kind in IPV6_EXTENSIONS:
        if at + 8 > end:
            return "bad IP header"
        kind, at = packet[at], at + (packet[at + 1] + 1) * 8
    if at > end:
        return "bad IP header"
    if kind == IPV6_FRAGMENT:
        return "IP fragment"
    return packet[at:end] if kind == UDP else "not UDP"
