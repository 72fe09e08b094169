"""The order book against LOBSTER: reconstructed books of Nasdaq that others made and checked.

A message file says what happened, the order-book file beside it how the best levels looked right
after. A book is seeded with one order a level from a row of the latter; a message that names an
order from before the seed acts on the order of its level.

Message columns: time (s), type, order id, size, price (1e-4 dollars), direction (1: a bid rests).
Types: 1 new, 2 partly cancelled, 3 deleted, 4 executed, 5 a hidden order executed, 7 halt.
"""

import gzip

import numpy as np
import pytest
from tests.engine.running import End, Rows, block_of, frames, make, run_engine, tables
from tests.market.flows import event

import onetape as ot
from onetape.market import words
from onetape.market.book import Book
from onetape.records.market import (
    ADD,
    ASK,
    BID,
    CANCEL,
    FILL,
    TRADE,
    WHOLE,
    MarketEvent,
)

NEW, PARTLY, DELETED, EXECUTED, HIDDEN = 1, 2, 3, 4, 5
NO_PRICE = 9_999_999_999  # of a level that is not there; negative for bids
AAPL_10 = "lobster/AAPL_2012-06-21_34200000_57600000_{}_10.first999.csv"
GOOG_1 = "lobster/GOOG_2012-06-21_34200000_57600000_{}_1.csv.gz"


def read(path):
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt") as lines:
        return [line.rstrip("\n").split(",") for line in lines]


def read_messages(path):
    """(ts_ns, type, order id, size, price, side) of each row."""
    for time, kind, order_id, size, price, direction in read(path):
        seconds, _, fraction = time.partition(".")
        ts_ns = int(seconds) * 10**9 + int(fraction.ljust(9, "0")[:9])
        side = BID if direction == "1" else ASK
        yield ts_ns, int(kind), int(order_id), int(size), int(price), side


def read_books(path):
    """({price: size} of bids, of asks) of each row; empty levels left out."""
    for row in read(path):
        numbers = list(map(int, row))
        asks = dict(zip(numbers[0::4], numbers[1::4]))
        bids = dict(zip(numbers[2::4], numbers[3::4]))
        asks.pop(NO_PRICE, None)
        bids.pop(-NO_PRICE, None)
        yield bids, asks


class Translator:
    """LOBSTER's messages as market events of one instrument, after a seed of levels."""

    def __init__(self, instrument, ts_ns):
        self.instrument = instrument
        self.seeds = {}  # (side, price): id of the order that stands for the level
        self.seen = set()
        self.first_id = instrument << 32  # of seeds; below all ids LOBSTER would give
        self.ts_ns = ts_ns

    def seed(self, bids, asks):
        for side, levels in ((BID, bids), (ASK, asks)):
            for price, size in levels.items():
                self.seeds[side, price] = order_id = self.first_id + len(self.seeds)
                yield self.event(self.ts_ns, ADD, order_id, side, price, size)

    def translate(self, ts_ns, kind, order_id, size, price, side):
        order_id += 1 << 62  # no seed has such an id
        if kind == NEW:
            self.seen.add(order_id)
            return self.event(ts_ns, ADD, order_id, side, price, size)
        if kind == HIDDEN:
            return self.event(ts_ns, TRADE, 0, side, price, size)
        known = order_id if order_id in self.seen else self.seeds.get((side, price), order_id)
        if kind == DELETED and known == order_id:
            return self.event(ts_ns, CANCEL, known, side, ot.UNSET, ot.UNSET, flags=WHOLE)
        action = {PARTLY: CANCEL, DELETED: CANCEL, EXECUTED: FILL}[kind]
        return self.event(ts_ns, action, known, side, ot.UNSET, size)

    def event(self, ts_ns, action, order_id, side, price, size, flags=0):
        return event(
            ts_ns, action, order_id, instrument_id=self.instrument, side=side,
            price_ticks=price, qty_lots=size, flags=flags,
        )  # fmt: skip


def run_book(events, output, **capacity):
    book = Book(ot.source(MarketEvent), capacity=capacity)
    engine = make(ot.Pipeline(book=getattr(book, output)), output_rows=1 << 16)
    block = block_of(events)
    size = np.arange(10_000, len(block), 10_000)  # a frame holds at most a megabyte
    steps = [Rows(0, piece) for piece in np.split(block, size)]
    return run_engine(engine, frames([*steps, End(0)]), digests=False)


def step_by_step(message_path, book_path, levels, instruments):
    """Each row by itself, as an instrument of its own: seed with row k - 1, apply message k.

    Returns (rows compared, levels that came up from below where a level emptied).
    """
    books = list(read_books(book_path))
    events, expected = [], []
    for k, message in enumerate(read_messages(message_path)):
        if k == 0:
            continue
        translator = Translator(k, message[0])
        seed = list(translator.seed(*books[k - 1]))
        applied = translator.translate(*message)
        events += [*seed, applied]
        expected.append(books[k])

    ran = run_book(events, "depth", orders=1 << 18, instruments=instruments, levels=1 << 22)

    last = {row[-2]: row for row in ran.rows["book"]}  # the last Depth of each instrument
    revealed = 0
    for k, (bids, asks) in enumerate(expected, 1):
        row = last[k]
        for prices, sizes, told in ((row[2], row[4], bids), (row[3], row[5], asks)):
            ours = {p: s for p, s in zip(prices, sizes) if s > 0}
            ours = dict(list(ours.items())[:levels])
            below = list(told.items())[len(ours) :]
            assert list(ours.items()) == list(told.items())[: len(ours)], k
            assert len(below) <= 1, k
            revealed += len(below)
    return len(expected), revealed


def test_ten_levels_after_each_message(data_file):
    rows, revealed = step_by_step(
        data_file(AAPL_10.format("message")), data_file(AAPL_10.format("orderbook")), 10, 1 << 10
    )

    assert rows == 998
    assert 0 < revealed < rows / 2


@pytest.mark.slow
def test_the_best_level_of_a_whole_day(data_file):
    rows, revealed = step_by_step(
        data_file(GOOG_1.format("message")), data_file(GOOG_1.format("orderbook")), 1, 1 << 16
    )

    assert rows == 49481
    assert 0 < revealed < rows / 2


def test_an_hour_of_messages_gives_the_days_best_prices(data_file):
    """One seed, then 50 levels deep from messages alone; until a level no file shows is reached."""
    seed = next(read_books(data_file(AAPL_10.format("orderbook"))))
    hour = data_file("lobster/AAPL_2012-06-21_34200000_37800000_message_50.csv.gz")
    day = data_file("lobster/AAPL_2012-06-21_34200000_57600000_orderbook_1.csv.gz")
    messages = list(read_messages(hour))[1:]
    translator = Translator(1, messages[0][0])
    events = [*translator.seed(*seed), *(translator.translate(*m) for m in messages)]

    ran = run_book(events, "top", orders=1 << 18, instruments=16, levels=1 << 16)

    ours = [(ask, ask_qty, bid, bid_qty) for _, bid, ask, bid_qty, ask_qty, *_ in ran.rows["book"]]
    told = [tuple(map(int, row)) for row in read(day)]
    told = [row for row, before in zip(told, [None, *told]) if row != before]
    ours = ours[ours.index(told[0]) :]  # the seed is made order by order
    assert ours[:15999] == told[:15999]
    assert tables(ran.engine, "Book").meta[words.DUPLICATE] == 0
