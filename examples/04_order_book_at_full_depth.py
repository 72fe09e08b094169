"""The book itself: every level of both sides, and the queue of orders at the best price.

A stream of the ten best levels is `feed.depth()`; here the state of the engine is read between
two blocks, which is what a debugger or a page that shows one instrument needs.
"""

import onetape as ot
from onetape.codecs.feed import symbol_of
from onetape.engine.frames import frames_of
from onetape.market.book import Book
from onetape.market.view import all_levels, queue
from onetape.runtimes import batch
from onetape.sim import simulate

TICKS = 10_000  # of one dollar

feed = ot.source("itch")
pipeline = ot.Pipeline(top_of_book=feed.top_of_book(), depth=feed.depth())


def book_of(engine):
    """The tables of the pipeline's book, as the functions of `market.view` take them."""
    number = [node.name for node in engine.plan.pipeline.nodes].index("Book")
    return Book.spec.tables_type()(*(engine.arrays[f"n{number}_{t}"] for t in Book.spec.tables))


if __name__ == "__main__":
    day = simulate(seed=11, instruments=5, seconds=20.0, messages_per_s=1_000, episodes=0)
    engine = batch.make_engine(pipeline)
    result = batch.run(engine, frames_of([(None, day.data)]))
    book = book_of(engine)
    instrument = 1
    symbol = symbol_of(int(engine.feed_state("itch")["symbols"][instrument]))
    bids, asks = (all_levels(book, instrument, side) for side in (0, 1))
    print(f"{symbol}: {len(bids)} bid levels, {len(asks)} ask levels")
    print(f"{'orders':>7} {'lots':>7} {'bid':>10} | {'ask':<10} {'lots':>7} {'orders':>7}")
    for (bid, bid_lots, bid_orders), (ask, ask_lots, ask_orders) in list(zip(bids, asks))[:8]:
        print(
            f"{bid_orders:>7} {bid_lots:>7} {bid / TICKS:>10.4f} | "
            f"{ask / TICKS:<10.4f} {ask_lots:>7} {ask_orders:>7}"
        )
    print(f"first in the queue at {bids[0][0] / TICKS:.4f}:")
    for order_id, lots in queue(book, instrument, 0, bids[0][0])[:5]:
        print(f"  order {order_id}: {lots} lots")
    print(f"{result.counts.rows['depth']:,} rows of ten levels were made on the way")
