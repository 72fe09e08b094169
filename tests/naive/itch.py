"""ITCH 5.0 decoding as the specification reads, message by message, with struct and ifs."""

import struct

UNSET = -(2**63)
EVENT, NOTHING, REFUSED = 1, 0, -1
DAY_NS = 86_400 * 10**9
PRICE_MAX = 2_000_000_000

LENGTHS = {
    "S": 12, "R": 39, "H": 25, "Y": 20, "L": 26, "V": 35, "W": 12, "K": 28, "J": 35, "h": 21,
    "A": 36, "F": 40, "E": 31, "C": 36, "X": 23, "D": 19, "U": 35, "P": 44, "Q": 40, "B": 19,
    "I": 50, "N": 20, "O": 48,
}  # fmt: skip
LAST, CROSS, WHOLE, HAS_PRICE, NOT_PRINTABLE = 128, 16, 8, 4, 2


class Refused(Exception):
    """A message that breaks the specification; the argument is the reason."""


def decode(body, sequence=0, ts_recv_ns=0, midnight_ns=0):
    """The fields of the event as a dict, or Refused."""
    if not body:
        raise Refused("zero length")
    letter = chr(body[0])
    if letter not in LENGTHS:
        raise Refused("unknown type")
    if len(body) != LENGTHS[letter]:
        raise Refused("wrong length for its type")
    locate, _tracking = struct.unpack_from(">HH", body, 1)
    time_ns = int.from_bytes(body[5:11], "big")
    if time_ns >= DAY_NS:
        raise Refused("time out of day")
    event = {
        "ts_event_ns": midnight_ns + time_ns,
        "ts_recv_ns": ts_recv_ns,
        "order_id": 0,
        "other_id": 0,
        "price_ticks": UNSET,
        "qty_lots": UNSET,
        "sequence": sequence,
        "instrument_id": locate,
        "action": ord("N"),
        "side": ord("N"),
        "flags": LAST,
        "kind": body[0],
    }
    if letter in "AFP":
        order, side, shares, _stock, price = struct.unpack_from(">QcI8sI", body, 11)
        check_price(price)
        if side not in (b"B", b"S"):
            raise Refused("bad side")
        event["action"] = ord("A")
        event["side"] = ord("B") if side == b"B" else ord("A")
        event["order_id"], event["qty_lots"], event["price_ticks"] = order, shares, price
        if letter == "P":
            event["action"] = ord("T")
            (event["other_id"],) = struct.unpack_from(">Q", body, 36)
    elif letter == "D":
        (event["order_id"],) = struct.unpack_from(">Q", body, 11)
        event["action"] = ord("C")
        event["flags"] |= WHOLE
    elif letter == "X":
        event["order_id"], event["qty_lots"] = struct.unpack_from(">QI", body, 11)
        event["action"] = ord("C")
    elif letter == "U":
        old, new, shares, price = struct.unpack_from(">QQII", body, 11)
        check_price(price)
        event["order_id"], event["other_id"] = old, new
        event["qty_lots"], event["price_ticks"] = shares, price
        event["action"] = ord("M")
    elif letter in "EC":
        order, shares, match = struct.unpack_from(">QIQ", body, 11)
        event["order_id"], event["qty_lots"], event["other_id"] = order, shares, match
        event["action"] = ord("F")
        if letter == "C":
            printable, price = struct.unpack_from(">cI", body, 31)
            check_price(price)
            if printable not in (b"Y", b"N"):
                raise Refused("bad printable flag")
            event["price_ticks"] = price
            event["flags"] |= HAS_PRICE
            if printable == b"N":
                event["flags"] |= NOT_PRINTABLE
    elif letter == "Q":
        shares, _stock, price, match = struct.unpack_from(">Q8sIQ", body, 11)
        check_price(price)
        if shares >= 2**63:
            raise Refused("quantity out of range")
        event["qty_lots"], event["price_ticks"], event["other_id"] = shares, price, match
        event["action"] = ord("T")
        event["flags"] |= CROSS
    return event


def check_price(price):
    if price > PRICE_MAX:
        raise Refused("price out of range")


class Feed:
    """Both framings, message by message, with the counts a feed keeps."""

    def __init__(self, midnight_ns=0):
        self.midnight_ns = midnight_ns
        self.next_sequence = 1
        self.session = None
        self.sessions = self.ended = self.heartbeats = self.duplicates = 0
        self.gaps = self.gap_messages = 0
        self.refused = {}
        self.events = []

    def refuse(self, reason):
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def message(self, body, sequence, ts_recv_ns):
        try:
            self.events.append(decode(body, sequence, ts_recv_ns, self.midnight_ns))
        except Refused as why:
            self.refuse(str(why))

    def length_prefixed(self, data, ts_recv_ns=0):
        """One run of messages."""
        while data:
            sequence, self.next_sequence = self.next_sequence, self.next_sequence + 1
            if len(data) < 3:
                return self.refuse("truncated")
            (length,) = struct.unpack(">H", data[:2])
            if length == 0:
                if chr(data[2]) not in LENGTHS:
                    return self.refuse("unknown type")
                length = LENGTHS[chr(data[2])]
            if len(data) < 2 + length:
                return self.refuse("truncated")
            self.message(data[2 : 2 + length], sequence, ts_recv_ns)
            data = data[2 + length :]
        return None

    def moldudp64(self, data, ts_recv_ns=0):
        """One datagram."""
        if len(data) < 20:
            return self.refuse("bad packet")
        session, sequence, count = struct.unpack(">10sQH", data[:20])
        if sequence > 2**48:
            return self.refuse("bad packet")
        if session != self.session:
            if not all(32 <= letter <= 126 for letter in session):
                return self.refuse("bad session")
            if self.session is not None:
                self.next_sequence, self.ended = sequence, 0
            self.session = session
            self.sessions += 1
        if sequence > self.next_sequence:
            self.gaps += 1
            self.gap_messages += sequence - self.next_sequence
            self.next_sequence = sequence
        if count == 0:
            self.heartbeats += 1
            return None
        if count == 0xFFFF:
            self.ended = 1
            return None
        data = data[20:]
        while data:
            if count == 0 or len(data) < 2:
                return self.refuse("bad packet")
            (length,) = struct.unpack(">H", data[:2])
            if len(data) < 2 + length:
                return self.refuse("bad packet")
            if sequence < self.next_sequence:
                self.duplicates += 1
            else:
                self.next_sequence = sequence + 1
                self.message(data[2 : 2 + length], sequence, ts_recv_ns)
            sequence, count, data = sequence + 1, count - 1, data[2 + length :]
        return None
