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
    elif letter == "R":
        (event["other_id"],) = struct.unpack_from(">Q", body, 11)
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
    """Runs of messages, with the counts a feed keeps."""

    def __init__(self, midnight_ns=0):
        self.midnight_ns = midnight_ns
        self.next_sequence = 1
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


CELLS, CONFIRM, BODY_MAX, LOSSES_KEPT = 1 << 16, 3, 60, 16
TWO_LINES, SLOTS, PAST = 255, 1024, 4


def misfit(body):
    """Why these bytes are no message by their type alone, or None."""
    if not body:
        return "zero length"
    length = LENGTHS.get(chr(body[0]))
    if length is None:
        return "unknown type"
    return None if length == len(body) else "wrong length for its type"


class Mold(Feed):
    """MoldUDP64 on several lines: one ordered stream, what waits in a dict, gaps as they come."""

    def __init__(self, midnight_ns=0, patience_ns=0):
        super().__init__(midnight_ns)
        self.patience_ns = patience_ns
        self.session, self.sessions, self.ended, self.heartbeats = None, 0, 0, 0
        self.highest_sequence, self.far, self.others = 1, [], {}
        self.waiting = {}  # number: (body, receive time, line)
        self.refusals = {}  # what was refused, by its slot: (number, body, line)
        self.past = []  # sessions that were left: [name, where it goes on or None]
        self.pasts, self.first_far = 0, None
        self.duplicates = self.conflicts = self.not_held = self.after_loss = 0
        self.losses = []  # of this session: the numbers that were given up, as ranges
        self.gap_from = None  # while messages are missing
        self.opened_ns = self.progress_ns = self.gap_messages = self.stale = 0
        self.gaps = []  # (state, first, count)

    def packet(self, data, ts_recv_ns=0, line=0):
        """One datagram."""
        reason = self.check(data, line)
        if reason is not None:
            self.refuse(reason)
            return self.settle(ts_recv_ns)
        sequence, count = struct.unpack(">QH", data[10:20])
        if count == 0:
            self.heartbeats += 1
        if count == 0xFFFF:
            self.ended, count = 1, 0
        elif count > 0 and sequence + count > self.highest_sequence:
            self.ended = 0
        self.highest_sequence = max(self.highest_sequence, sequence + count)
        data = data[20:]
        while data:
            (length,) = struct.unpack(">H", data[:2])
            self.arrive(data[2 : 2 + length], sequence, ts_recv_ns, line)
            sequence, data = sequence + 1, data[2 + length :]
        return self.settle(ts_recv_ns)

    def check(self, data, line):
        if len(data) < 20:
            return "bad packet"
        session, sequence, count = struct.unpack(">10sQH", data[:20])
        if sequence > 2**48:
            return "bad packet"
        at = 20
        for _ in range(0 if count == 0xFFFF else count):
            if at + 2 > len(data):
                return "bad packet"
            at += 2 + struct.unpack(">H", data[at : at + 2])[0]
        if at != len(data):
            return "bad packet"
        messages = 0 if count == 0xFFFF else count
        if session == self.session:
            self.others[line] = (self.others.get(line, (None, 0))[0], 0)
            if self.first_far is not None and sequence < self.first_far - CELLS:
                self.waiting, self.next_sequence, self.highest_sequence = {}, 1, 1
            if sequence != self.first_far:
                self.first_far = None
            return self.check_distance(line, sequence)
        if not all(32 <= letter <= 126 for letter in session):
            return "bad session"
        goes_on = 1
        if self.session is not None:
            known = [n for n, (name, _) in enumerate(self.past) if name == session]
            if known:
                goes_on = self.past[known[0]][1]
                if goes_on is None or messages == 0 or sequence < goes_on:
                    return "old session"
            if messages == 0:
                return "bad session"
            if not self.ended or self.highest_sequence > self.next_sequence:
                name, times = self.others.get(line, (None, 0))
                times = times + 1 if name == session else 1
                self.others[line] = (session, times)
                if times < CONFIRM:
                    return "bad session"
            self.leave(known[0] if known else None)
            self.next_sequence = self.highest_sequence = goes_on
        self.session, self.ended, self.far = session, 0, []
        self.sessions += 1
        if self.sessions == 1 and sequence > CELLS:
            self.first_far = sequence
            return None
        return self.check_distance(line, sequence)

    def leave(self, slot):
        left = [self.session, None if self.ended else self.highest_sequence]
        if slot is None:
            slot, self.pasts = self.pasts % PAST, self.pasts + 1
        self.past[slot : slot + 1] = [left]
        self.others = {line: (name, 0) for line, (name, _) in self.others.items()}
        missing = self.highest_sequence - self.next_sequence
        if missing:
            self.lose(self.highest_sequence)
        if self.next_sequence > 1:
            self.stale = 1
        self.waiting, self.refusals, self.first_far = {}, {}, None
        self.gap_from, self.losses = None, []

    def check_distance(self, line, sequence):
        """`far`: what was said of numbers far ahead that agree, as (number, line)."""
        if sequence < self.highest_sequence + CELLS:
            if self.far and self.far[-1][1] == line:
                self.far = []
            return None
        if self.far and abs(sequence - self.far[-1][0]) >= CELLS:
            self.far = []
        if self.far:
            said, by = self.far[-1]
            if by != line or sequence > said or len(self.far) >= CONFIRM - 1:
                self.far = []
                return None
        self.far.append((sequence, line))
        return "far sequence"

    def remember(self, body, sequence, line):
        number, same, by = self.refusals.get(sequence % SLOTS, (None, None, None))
        if (number, same) == (sequence, body) and by != line:
            line = TWO_LINES
        self.refusals[sequence % SLOTS] = (sequence, body, line)

    def arrive(self, body, sequence, ts_recv_ns, line):
        if sequence < self.next_sequence:
            if any(sequence in lost for lost in self.losses[-LOSSES_KEPT:]):
                self.after_loss += 1
            else:
                self.duplicates += 1
        elif (sequence > self.next_sequence or self.waiting) and (why := misfit(body)):
            self.refuse(why)
            self.remember(body, sequence, line)
        elif sequence == self.next_sequence and sequence not in self.waiting:
            if self.deliver(body, sequence, ts_recv_ns, line):
                self.progress_ns = ts_recv_ns
        elif sequence in self.waiting:
            same, came_ns, by = self.waiting[sequence]
            if same == body:
                self.duplicates += 1
                self.waiting[sequence] = (body, came_ns, line if by == line else TWO_LINES)
            else:
                self.conflicts += 1
                del self.waiting[sequence]
        elif len(body) > BODY_MAX or any((s - sequence) % CELLS == 0 for s in self.waiting):
            self.not_held += 1
        else:
            self.waiting[sequence] = (body, ts_recv_ns, line)

    def deliver(self, body, sequence, ts_recv_ns, line):
        before = len(self.events)
        self.message(body, sequence, ts_recv_ns)
        if len(self.events) > before:
            self.next_sequence = sequence + 1
            return True
        self.remember(body, sequence, line)
        return False

    def go_on(self):
        """What waits and is expected, or what two lines have said alike though it is refused."""
        number, _, line = self.refusals.get(self.next_sequence % SLOTS, (None, None, None))
        if self.next_sequence in self.waiting:
            body, came_ns, by = self.waiting.pop(self.next_sequence)
            self.deliver(body, self.next_sequence, came_ns, by)
        elif number == self.next_sequence and line == TWO_LINES:
            self.next_sequence += 1
            self.stale = 1
        else:
            return False
        return True

    def lose(self, until):
        self.gaps.append(("lost", self.next_sequence, until - self.next_sequence))
        self.losses.append(range(self.next_sequence, until))
        self.gap_messages += until - self.next_sequence
        self.stale = 1

    def settle(self, ts_recv_ns, is_over=False):
        """Release what waits, and say what is to be said of gaps."""
        while True:
            while self.go_on():
                pass
            missing = self.highest_sequence > self.next_sequence
            first = min(self.waiting, default=self.highest_sequence)
            if missing and self.gap_from is None:
                self.gap_from = self.next_sequence
                self.opened_ns = self.waiting[first][1] if first in self.waiting else ts_recv_ns
                self.gaps.append(("opened", self.next_sequence, first - self.next_sequence))
            if not missing:
                if self.gap_from is not None:
                    count = self.next_sequence - self.gap_from
                    self.gaps.append(("filled", self.gap_from, count))
                self.gap_from = None
                return
            since_ns = max(self.opened_ns, self.progress_ns)
            has_time = max(ts_recv_ns - since_ns, 0) < self.patience_ns
            if not is_over and has_time and len(self.waiting) < CELLS * 3 // 4:
                return
            self.lose(first)
            self.next_sequence, self.gap_from = first, None
            if first == self.highest_sequence:
                self.waiting = {}
