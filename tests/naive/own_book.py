"""Own orders in their book, with dicts and sorted()."""

from tests.naive.market import BID, MODIFY, UNSET, Book

LOTS_MAX = 2**40
DIRECTORY = ord("R")


class WithBook:
    """`on_event` and `on_order` in the order of their arrival; rows of the joined orders."""

    def __init__(self):
        self.book, self.own, self.symbols = Book(), set(), {}
        self.rows = []

    def on_event(self, e):
        if e.kind == DIRECTORY:
            self.symbols[e.other_id] = e.instrument_id
            return
        known = self.book.orders.get(e.order_id)
        was_own = e.order_id in self.own and known is not None
        self.book.on_event(e)
        if was_own and e.order_id not in self.book.orders:
            self.own.discard(e.order_id)
            if e.action == MODIFY and e.other_id != e.order_id:
                self.own.add(e.other_id)

    def on_order(self, o):
        if o.leaves_lots > 0:
            self.own.add(o.order_id)
        elif o.order_id not in self.book.orders:
            self.own.discard(o.order_id)
        instrument = self.symbols.get(o.symbol_word)
        median, ahead, top = LOTS_MAX, 0, (UNSET, UNSET, 0, 0)
        if instrument is not None:
            top = self.book.best(instrument)
            if chr(o.side) in "AB":
                levels = self.levels(instrument, o.side)
                sizes = sorted([lots for _, lots in levels if lots > 0][:10])
                median = sizes[(len(sizes) - 1) // 2] if sizes else LOTS_MAX
                if o.price_ticks != UNSET:
                    sign = 1 if o.side == BID else -1
                    ahead = sum(n for price, n in levels if sign * price > sign * o.price_ticks)
        self.rows.append((o.order_id, median, ahead, *top, instrument or 0, o.action, o.flags))

    def levels(self, instrument, side):
        """(price, lots of others) of the 32 best levels, best first."""
        found = self.book.sides.get((instrument, side), {})
        best = sorted(found, reverse=side == BID)[:32]
        return [
            (price, sum(lots for ref, lots in found[price].items() if ref not in self.own))
            for price in best
        ]
