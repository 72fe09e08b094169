"""FIX 4.4 reports read with split and datetime: no kernel, one message at a time."""

import zlib
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

UNSET = -(2**63)
DATA = {
    b"95": b"96", b"354": b"355", b"90": b"91", b"93": b"89", b"212": b"213", b"348": b"349",
    b"350": b"351", b"352": b"353", b"356": b"357", b"358": b"359", b"360": b"361", b"362": b"363",
    b"364": b"365", b"445": b"446", b"618": b"619", b"621": b"622",
}  # fmt: skip
WANTED = {
    35, 49, 56, 34, 52, 43, 123, 36, 141, 37, 150, 1, 55, 54, 38, 44, 32, 31, 14, 151, 60, 527,
}  # fmt: skip
ACTIONS = {b"0": "A", b"F": "F", b"4": "C", b"3": "C", b"C": "C", b"5": "M", b"8": "J"}
SIDES = dict.fromkeys([b"1", b"3"], "B") | dict.fromkeys([b"2", b"4", b"5", b"6"], "A")
FNV = 14695981039346656037, 1099511628211


class Refused(Exception):
    """The argument is the reason."""


def fields_of(message):
    """[(tag, value)] of a whole message; Refused if its frame or a field is not sound."""
    begin, _, rest = message.partition(b"\x01")
    length, _, rest = rest.partition(b"\x01")
    if not begin.startswith(b"8=FIX") or not length.startswith(b"9="):
        raise Refused("bad packet")
    body, trailer = rest[:-7], rest[-7:]
    if not length[2:].isdigit() or int(length[2:]) != len(body) or trailer[:3] != b"10=":
        raise Refused("bad packet")
    if trailer != b"10=%03d\x01" % (sum(message[:-7]) % 256):
        raise Refused("bad checksum")
    found, raw = [], None
    while body:
        tag, equals, rest = body.partition(b"=")
        if not equals or not tag.isdigit() or int(tag) == 0 or int(tag) > 99_999:
            raise Refused("bad field")
        if raw:
            if tag != raw[0] or rest[raw[1] : raw[1] + 1] != b"\x01":
                raise Refused("bad field")
            value, body = rest[: raw[1]], rest[raw[1] + 1 :]
        else:
            value, soh, body = rest.partition(b"\x01")
            if not soh or not value:
                raise Refused("bad field")
        raw = None
        if tag in DATA:
            if not value.isdigit() or len(value) > 18 or int(value) == 0:
                raise Refused("bad field")
            raw = (DATA[tag], int(value))
        found.append((int(tag), value))
    wanted = [tag for tag, _ in found if tag in WANTED]
    if raw or len(wanted) != len(set(wanted)):
        raise Refused("bad field")
    return found


def hashed(text):
    word = FNV[0]
    for letter in text:
        word = (word ^ letter) * FNV[1] % 2**64
    return word | 1 << 63


def number(text):
    return int(text) if text.isdigit() and len(text) <= 18 else None


def word(text):
    return int.from_bytes(text.ljust(8), "big") if len(text) <= 8 else hashed(text)


def decimal(text, places):
    """In units of 10**-places, or None."""
    if not text or any(letter not in b"0123456789.-" for letter in text) or text == b".":
        return None
    try:
        value = Decimal(text.decode()).scaleb(places)
    except InvalidOperation:
        return None
    return int(value) if value == int(value) else None


def time_ns(text):
    head, _, part = text.decode("ascii").partition(".")
    if len(head) != 17 or len(part) > 9 or (part and not part.isdigit()) or text.endswith(b"."):
        raise Refused("time out of day")
    leap = head.endswith(":60")
    try:
        moment = datetime.strptime(head[:-2] + "59" if leap else head, "%Y%m%d-%H:%M:%S")
    except ValueError:
        raise Refused("time out of day") from None
    if not 1970 <= moment.year <= 2115:
        raise Refused("time out of day")
    seconds = int(moment.replace(tzinfo=UTC).timestamp()) + leap
    return seconds * 10**9 + int(part.ljust(9, "0") or 0)


def report(fields, sequence):
    """The record of an ExecutionReport as a dict."""
    f = dict(fields)
    ts = f.get(60) or f.get(52)
    if any(tag not in f for tag in (37, 150, 55, 54)) or ts is None:
        raise Refused("field missing")
    if len(f[150]) != 1 or len(f[54]) != 1 or len(f[55]) > 64:
        raise Refused("bad field")
    ts_ns = time_ns(ts)
    side = SIDES.get(f[54], "N" if f[54] in b"789:;<=>?@ABCDEFG" else None)
    if side is None:
        raise Refused("bad side")
    lots = {tag: decimal(f[tag], 0) for tag in (38, 14, 151, 32) if tag in f}
    if any(value is None or not 0 <= value <= 2**40 for value in lots.values()):
        raise Refused("quantity out of range")
    action = ACTIONS.get(f[150], "N")
    qty = lots.get(32 if action == "F" else 38, UNSET)
    if 151 not in f or (qty == UNSET and action in "FA"):
        raise Refused("field missing")
    if action == "C" and qty != UNSET:
        qty = max(qty - lots.get(14, 0), 0)
    price = UNSET
    if (31 if action == "F" else 44) in f:
        price = decimal(f[31 if action == "F" else 44], 4)
        if price is None or abs(price) > 2**48:
            raise Refused("price out of range")
    return {
        "ts_event_ns": ts_ns,
        "order_id": hashed(f[37]) if number(f[37]) is None else number(f[37]),
        "account_id": word(f[1]) if 1 in f else 0,
        "match_id": 0 if 527 not in f else number(f[527]) or hashed(f[527]),
        "symbol_word": word(f[55]),
        "price_ticks": price,
        "qty_lots": qty,
        "leaves_lots": lots[151],
        "sequence": sequence,
        "instrument_id": zlib.crc32(f[55]),
        "action": ord(action),
        "side": ord(side),
        "flags": 128 | (8 if action == "C" else 0),
        "kind": f[150][0],
    }


class Session:
    """What one side of a session says: reports, and the numbers that were left out."""

    def __init__(self):
        self.pair, self.next = None, 0
        self.orders, self.lost, self.refused = [], [], []
        self.duplicates = 0
        self.stale = False

    def read(self, message):
        try:
            self.take(fields_of(message), message)
        except Refused as why:
            self.refused.append(str(why))
            self.stale = True

    def take(self, fields, message):
        f = dict(fields)
        if any(tag not in f for tag in (35, 49, 56, 34)):
            raise Refused("field missing")
        sequence = number(f[34])
        if sequence is None or sequence > 2**53:
            raise Refused("bad field")
        if self.pair is None:
            if f[35] != b"8":
                return
            self.pair, self.next = (f[49], f[56]), sequence
        if (f[49], f[56]) != self.pair:
            return
        if f[35] == b"A" and f.get(141) == b"Y":
            self.next = sequence
        until = 0
        if f[35] == b"4":
            if 36 not in f:
                raise Refused("field missing")
            until = number(f[36])
            if not until or until > 2**53:
                raise Refused("bad field")
            if f.get(123) != b"Y":
                if until > self.next:
                    self.lose(until)
                return
        if sequence < self.next:
            self.duplicates += 1
            return
        if sequence > self.next:
            self.lose(sequence)
        self.next = max(sequence + 1, until)
        if f[35] == b"8":
            if not message.startswith(b"8=FIX.4.4\x01"):
                raise Refused("unknown type")
            self.orders.append(report(fields, sequence))

    def lose(self, until):
        self.lost.append((self.next, until - self.next))
        self.next, self.stale = until, True
