"""A recorded file of a venue through the standard pipeline, against the twins, row by row."""

import json
from collections import Counter
from types import SimpleNamespace

import pytest
from tests.engine.running import tables, tuples
from tests.naive import itch, windows
from tests.naive.market import Book
from tests.naive.surveillance import burst_cancel

from onetape.connect.itch_file import open_itch
from onetape.engine.frames import frames_of
from onetape.market.words import LIVE, UNKNOWN
from onetape.records.market import Trade
from onetape.runtimes import batch
from onetape.runtimes.standard import market_watch

FILE = "itch/ex20101224.TEST_ITCH_50"


@pytest.fixture(scope="module")
def recorded(request):
    """(path, what the survey counted, decoded messages): read once."""
    found = {}

    def read(data_file):
        if not found:
            path = data_file(FILE)
            found["path"] = path
            found["counts"] = json.loads(data_file("itch/ex20101224.counts.json").read_text())
            found["messages"] = list(decoded(path))
        return SimpleNamespace(**found)

    return read


def decoded(path):
    """The twin's events; two bytes, always zero, and then the length follows from the type."""
    data, at, midnight_ns = path.read_bytes(), 0, open_itch(path).midnight_ns
    while at < len(data):
        size = itch.LENGTHS[chr(data[at + 2])]
        body = data[at + 2 : at + 2 + size]
        at += 2 + size
        fields = itch.decode(body, midnight_ns=midnight_ns)
        yield SimpleNamespace(**fields)


def run_file(path, chunk_bytes):
    file = open_itch(path, chunk_bytes=chunk_bytes)
    engine = batch.make_engine(market_watch(), midnight_ns=file.midnight_ns)
    made = {name: [] for name in engine.plan.outputs}

    def take(name, rows, origins):
        made[name] += tuples(rows)

    return batch.run(engine, frames_of(file), take), made


def test_every_output_equals_its_definition(recorded, data_file):
    file = recorded(data_file)
    book = Book()
    for number, message in enumerate(file.messages):
        message.sequence = number + 1
        book.on_event(message)
    trades = [SimpleNamespace(**dict(zip(Trade._fields, row))) for row in book.trade]

    _, made = run_file(file.path, 1 << 18)

    assert made["top_of_book"] == book.top
    assert made["trade"] == book.trade
    assert by_width(made["vwap"], 10**9) == windows.vwap(trades, 10**9, 10**8)
    assert by_width(made["vwap"], 10**6) == windows.vwap(trades, 10**6)
    assert made["bar"] == windows.bars(trades, 10**9)
    assert made["alert"] == burst_cancel(file.messages)
    assert len(made["trade"]) == 5000 + 198 - 18  # P, and E whose order is known
    assert made["alert"] == []  # a quiet day: no six cancels within 10 ms


def test_counts_are_those_of_the_survey(recorded, data_file):
    file = recorded(data_file)
    told = file.counts

    result, _ = run_file(file.path, 1 << 18)

    feed = result.engine.feed_state("itch")
    by_type = {chr(i): int(n) for i, n in enumerate(feed["by_type"]) if n}
    assert by_type == told["by_type"] == Counter(chr(m.kind) for m in file.messages)
    assert result.counts.events == told["messages"]
    assert feed["refused"].sum() == 0
    book = tables(result.engine, "Book")
    assert int(book.meta[UNKNOWN]) == sum(told["references_to_unknown_orders"].values())
    # The survey opens the new order of a replace even where it does not know the old one. A book
    # cannot: only the old order's message said on which side it is.
    unknown = told["references_to_unknown_orders"]["U"]
    assert int(book.meta[LIVE]) == told["orders_open_at_end"] - unknown
    assert result.counts.late == 0


def test_any_chunk_size_gives_the_same_digests(recorded, data_file):
    file = recorded(data_file)
    whole, _ = run_file(file.path, 1 << 18)

    for chunk_bytes in (100, 5000):
        piecewise, _ = run_file(file.path, chunk_bytes)

        assert piecewise.digests == whole.digests
        assert piecewise.state_digest == whole.state_digest


def by_width(rows, width_ns):
    return [row for row in rows if row[1] == width_ns]
