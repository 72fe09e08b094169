"""An order book of dicts, message by message, and the records it should give.

    book = Book()
    for event in events:          # MarketEvent
        book.on_event(event)
    book.top, book.trade, book.depth    # rows as tuples, in order
    book.counts                         # what was refused, by reason

An instrument's side is {price: {order id: quantity}}: a dict keeps its keys in the order in which
they came, which is time priority.
"""

from collections import Counter
from types import SimpleNamespace

UNSET = -(2**63)
ADD, CANCEL, MODIFY, FILL, TRADE = (ord(letter) for letter in "ACMFT")
BID, ASK, NO_SIDE = (ord(letter) for letter in "BAN")
NOT_PRINTABLE, HAS_PRICE, WHOLE, CROSS = 2, 4, 8, 16
PRICE_MAX = NOTIONAL_MAX = 2**48
QTY_MAX = 2**40
DEPTH = 10


class Book:
    """Books of all instruments."""

    def __init__(self):
        self.orders = {}  # id: its place
        self.sides = {}  # (instrument, side letter): {price: {id: quantity}}
        self.arrivals = {}  # id: the how-many-th order to join a queue it was
        self.arrived = 0
        self.counts = Counter()
        self.top, self.trade, self.depth = [], [], []

    def on_event(self, e):
        top_before = self.best(e.instrument_id)
        depth_before = self.ten_best(e.instrument_id)
        if e.action == ADD:
            self.add(e.order_id, e.instrument_id, e.side, e.price_ticks, e.qty_lots)
        elif e.action == CANCEL:
            self.cancel(e)
        elif e.action == MODIFY:
            self.modify(e)
        elif e.action in (FILL, TRADE):
            self.execute(e)
        top = self.best(e.instrument_id)
        if top != top_before:
            self.top.append(
                (e.ts_event_ns, *top, e.sequence, e.instrument_id, 0, e.instrument_id, 0)
            )
        if self.ten_best(e.instrument_id) != depth_before:
            self.depth.append(self.depth_row(e))

    # --- what messages do -------------------------------------------------------------------------

    def known(self, e):
        order = self.orders.get(e.order_id)
        if order is None or order.instrument != e.instrument_id:
            self.counts["unknown"] += 1
            return None
        return order

    def add(self, order_id, instrument, side, price, qty):
        if not 0 < qty <= QTY_MAX or side not in (BID, ASK) or abs(price) > PRICE_MAX:
            self.counts["implausible"] += 1
        elif order_id in self.orders:
            self.counts["duplicate"] += 1
        else:
            self.orders[order_id] = SimpleNamespace(instrument=instrument, side=side, price=price)
            levels = self.sides.setdefault((instrument, side), {})
            levels.setdefault(price, {})[order_id] = qty
            self.arrived += 1
            self.arrivals[order_id] = self.arrived

    def reduce(self, order_id, qty):
        """Take away `qty`, at most all; a negative quantity is none."""
        order = self.orders[order_id]
        levels = self.sides[order.instrument, order.side]
        queue = levels[order.price]
        queue[order_id] -= max(min(qty, queue[order_id]), 0)
        if queue[order_id] == 0:
            del queue[order_id], self.orders[order_id]
        if not queue:
            del levels[order.price]

    def cancel(self, e):
        if self.known(e):
            self.reduce(e.order_id, QTY_MAX if e.flags & WHOLE else e.qty_lots)

    def modify(self, e):
        order = self.known(e)
        if order:
            self.reduce(e.order_id, QTY_MAX)
            self.add(e.other_id, order.instrument, order.side, e.price_ticks, e.qty_lots)

    def execute(self, e):
        price, side = e.price_ticks, e.side
        if e.action == FILL:
            order = self.known(e)
            if order:
                if not e.flags & HAS_PRICE:
                    price = order.price
                side = order.side
                levels = self.sides[order.instrument, order.side]
                self.counts["overfill"] += e.qty_lots > levels[order.price][e.order_id]
                self.reduce(e.order_id, e.qty_lots)
            elif e.flags & HAS_PRICE:
                side = NO_SIDE
            else:
                self.counts["unpriced"] += 1
                return
        if e.qty_lots <= 0 or e.flags & (NOT_PRINTABLE | CROSS):
            return
        if e.qty_lots > QTY_MAX or abs(price) * e.qty_lots > NOTIONAL_MAX:
            self.counts["implausible"] += 1
            return
        self.trade.append(
            (
                e.ts_event_ns,
                price,
                e.qty_lots,
                e.order_id,
                e.other_id,
                e.sequence,
                e.instrument_id,
                side,
                e.flags,
                e.kind,
                e.instrument_id,
                0,
            )
        )

    # --- what the book looks like -----------------------------------------------------------------

    def levels(self, instrument, side):
        """[(price, quantity, number of orders)], best first."""
        levels = self.sides.get((instrument, side), {})
        prices = sorted(levels, reverse=side == BID)
        return [(p, sum(levels[p].values()), len(levels[p])) for p in prices]

    def best(self, instrument):
        bids, asks = self.levels(instrument, BID), self.levels(instrument, ASK)
        bid_price, bid_qty = bids[0][:2] if bids else (UNSET, 0)
        ask_price, ask_qty = asks[0][:2] if asks else (UNSET, 0)
        return bid_price, ask_price, bid_qty, ask_qty

    def ten_best(self, instrument):
        """The orders in the ten best levels of each side: what makes a Depth record if changed."""
        view = []
        for side in (BID, ASK):
            levels = self.sides.get((instrument, side), {})
            for price in sorted(levels, reverse=side == BID)[:DEPTH]:
                view.append(
                    [(side, price, i, q, self.arrivals[i]) for i, q in levels[price].items()]
                )
        return view

    def queue(self, instrument, side, price):
        """[(order id, quantity)] in time priority."""
        return list(self.sides.get((instrument, side), {}).get(price, {}).items())

    def depth_row(self, e):
        columns = []
        for what, empty in ((0, UNSET), (1, 0)):
            for side in (BID, ASK):
                values = [level[what] for level in self.levels(e.instrument_id, side)[:DEPTH]]
                columns.append(values + [empty] * (DEPTH - len(values)))
        return (e.ts_event_ns, e.sequence, *columns, e.instrument_id, 0)
