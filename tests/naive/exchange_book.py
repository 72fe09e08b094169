"""The slow and obvious reader of an ITCH file: books of dicts and lists, and a burst detector.

`replay` raises AssertionError at the first message that a real exchange could not have sent.
"""

from collections import Counter, defaultdict, deque
from struct import unpack_from

LENGTHS = dict(S=12, R=39, H=25, A=36, F=40, E=31, C=36, X=23, D=19, U=35, P=44)
PRICE_STEP = 100  # one cent
WINDOW_NS = 10_000_000


def messages(data):
    """(letter, locate, ts_ns, body) of each message of a file's bytes."""
    data, at = bytes(data), 0
    while at < len(data):
        (size,) = unpack_from(">H", data, at)
        body = data[at + 2 : at + 2 + size]
        letter = chr(body[0])
        assert size == len(body) == LENGTHS[letter]
        yield letter, unpack_from(">H", body, 1)[0], int.from_bytes(body[5:11], "big"), body
        at += 2 + size


class Book:
    """One instrument: {price: [order reference, oldest first]} a side, and its orders."""

    def __init__(self, symbol):
        self.symbol = symbol
        self.levels = {"B": defaultdict(list), "S": defaultdict(list)}
        self.orders = {}  # reference: [side, price, qty]

    def best(self, side):
        prices = self.levels[side]
        if not prices:
            return None
        return max(prices) if side == "B" else min(prices)

    def add(self, ref, side, price, qty):
        assert qty > 0 and price > 0 and price % PRICE_STEP == 0
        self.orders[ref] = [side, price, qty]
        self.levels[side][price].append(ref)

    def remove(self, ref):
        side, price, _ = self.orders.pop(ref)
        self.levels[side][price].remove(ref)
        if not self.levels[side][price]:
            del self.levels[side][price]
        return side

    def reduce(self, ref, qty):
        order = self.orders[ref]
        assert 0 < qty <= order[2]
        order[2] -= qty
        if order[2] == 0:
            self.remove(ref)

    def execute(self, ref, qty):
        side, price, _ = self.orders[ref]
        assert price == self.best(side), "an execution that is not at the best price"
        assert self.levels[side][price][0] == ref, "an execution of an order that is not the oldest"
        self.reduce(ref, qty)

    def is_crossed(self):
        bid, ask = self.best("B"), self.best("S")
        return bid is not None and ask is not None and bid >= ask


def replay(data):
    """Check a whole file; returns (books by locate, messages by letter, most orders at once)."""
    books, counts, most = {}, Counter(), Counter()
    last_ts_ns = last_ref = last_match = 0
    phases, halted = "", set()
    for letter, locate, ts_ns, body in messages(data):
        assert ts_ns >= last_ts_ns
        last_ts_ns = ts_ns
        counts[letter] += 1
        if letter == "S":
            phases += chr(body[11])
            continue
        if letter == "R":
            assert phases == "O" and locate not in books
            books[locate] = Book(body[11:19])
            halted.add(locate)
            continue
        book = books[locate]
        if letter == "H":
            assert phases == "O" and body[11:19] == book.symbol and body[19:20] == b"T"
            halted.remove(locate)
            continue
        assert phases == "OSQ" and not halted, "trading outside of the session"
        if letter in "AFP":
            ref, side, qty, symbol, price = unpack_from(">QcI8sI", body, 11)
            assert symbol == book.symbol
        else:
            (ref,) = unpack_from(">Q", body, 11)
            assert ref in book.orders, "a reference to an order that is not there"
        if letter in "AF":
            assert ref > last_ref
            last_ref = ref
            book.add(ref, side.decode(), price, qty)
        elif letter in "ECP":
            match_at = {"E": 23, "C": 23, "P": 36}[letter]
            (match,) = unpack_from(">Q", body, match_at)
            assert match > last_match
            last_match = match
            if letter == "P":
                bid, ask = book.best("B"), book.best("S")
                assert ref == 0 and qty > 0 and price % PRICE_STEP == 0
                assert (bid is None or price >= bid) and (ask is None or price <= ask)
            else:
                if letter == "C":
                    assert body[31:32] in (b"Y", b"N")
                    assert unpack_from(">I", body, 32)[0] % PRICE_STEP == 0
                book.execute(ref, unpack_from(">I", body, 19)[0])
        elif letter == "X":
            (qty,) = unpack_from(">I", body, 19)
            assert qty < book.orders[ref][2], "a partial cancel of all there is"
            book.reduce(ref, qty)
        elif letter == "D":
            book.remove(ref)
        elif letter == "U":
            new_ref, qty, price = unpack_from(">QII", body, 19)
            assert new_ref > last_ref
            last_ref = new_ref
            book.add(new_ref, book.remove(ref), price, qty)
        assert not book.is_crossed()
        most[locate] = max(most[locate], len(book.orders))
    assert phases == "OSQMEC"
    return books, counts, most


def bursts(data, more_than=5):
    """(locate, first cancel, first that is over, last, cancels) of each burst, in order of time.

    A cancel is over when more than `more_than` of its instrument lie in [t - 10 ms, t], itself
    included. A burst is a run of cancels over, and those in the window of the first.
    """
    recent, found = defaultdict(deque), {}
    done = []
    for letter, locate, ts_ns, _ in messages(data):
        if letter not in "DXU":
            continue
        times = recent[locate]
        times.append(ts_ns)
        while times[0] < ts_ns - WINDOW_NS:
            times.popleft()
        burst = found.get(locate)
        if len(times) > more_than:
            if burst is None:
                burst = found[locate] = [locate, times[0], ts_ns, ts_ns, len(times) - 1]
                done.append(burst)
            burst[3] = ts_ns
            burst[4] += 1
        elif burst is not None:
            del found[locate]
    return [tuple(burst) for burst in done]
