"""What a person gets wrong with columns, and what they are told: where, what, and what to write."""

import re

import pytest

import onetape as ot
from onetape import c
from onetape import market as mk
from onetape.records import DeclarationError

trades = ot.source("itch").trades()
tops = ot.source("itch").top_of_book()

MISTAKES = [
    (
        lambda: trades.filter(c.prise_ticks > 1),
        "no field 'prise_ticks'; did you mean 'price_ticks'",
    ),
    (lambda: trades.filter(c.price_ticks > 101.25), "prices are ticks"),
    (lambda: trades.filter(c.price_ticks), "expected a condition"),
    (lambda: trades.filter("price_ticks > 3"), "expected a condition such as"),
    (trades.filter, "no condition"),
    (lambda: trades.filter(c.qty_lots > 1 and c.side == "B"), "use & for and"),
    (lambda: trades.filter(3 < c.qty_lots < 9), "(a < x) & (x < b)"),
    (lambda: trades.filter(not c.qty_lots), "~ for not"),
    (lambda: trades.filter((c.qty_lots > 1) & c.side), "expected true or false"),
    (lambda: trades.filter(c.side == "BUY"), "a letter goes with a one-byte field"),
    (lambda: trades.filter(c.ts_event_ns > "5 parsecs"), "is not a whole number and a unit"),
    (lambda: trades.filter(c.qty_lots == None), "None is not a column"),  # noqa: E711
    (lambda: trades.filter(c.order_id + 1 > 2), "an id can be compared by == and !="),
    (lambda: trades.filter(c.order_id > 2), "an id can be compared by == and !="),
    (lambda: trades.filter(c.qty_lots > 2**64), "more than 64 bits"),
    (lambda: trades.filter(c.qty_lots.sum() > 2), "over the rows of a window"),
    (lambda: trades.filter(c.qty_lots / 2 > 1), "do not mix by themselves"),
    (lambda: trades.select(c.qty_lots * 2), "without a name"),
    (lambda: trades.select(x=float("nan")), "is not a number"),
    (trades.with_columns, "no columns"),
    (lambda: trades.with_columns(x=[1]), "is not a column"),
    (lambda: trades.window("1s", by=c.symbol), "window: by"),
    (
        lambda: trades.window("1s", by="instrument").agg(n=ot.count()),
        "did you mean 'instrument_id'",
    ),
    (lambda: trades.window("1 s", by=c.side).agg(), "agg was given nothing"),
    (lambda: trades.window("1s", by=c.side).agg(x=c.qty_lots), "Write c.qty_lots.last()"),
    (lambda: trades.window("1s", by=c.side).agg(x=c.order_id.sum()), "sum() of an id"),
    (lambda: trades.window("1s", by=c.side).agg(side=ot.count()), "every window's row already"),
    (lambda: tops.window("1s", by=c.flags).agg(vwap=mk.vwap()), "TopOfBook has no field"),
    (lambda: trades.asof_join("tops", by=c.instrument_id), "expected a stream"),
    (lambda: trades.asof_join(tops, by=c.side), "which TopOfBook does not have"),
    (lambda: trades.alert("far", severity="red"), "expected warn or critical"),
    (lambda: trades.alert(" "), "expected a line that says what it is"),
    (lambda: trades.alert("far", once_per="soon"), "is not a whole number and a unit"),
    (lambda: list(c.qty_lots), "cannot be iterated"),
]


@pytest.mark.parametrize("n", range(len(MISTAKES)))
def test_a_mistake_is_told_with_its_remedy(n):
    mistake, told = MISTAKES[n]
    with pytest.raises(DeclarationError, match=re.escape(told)):
        mistake()


def test_the_message_shows_the_place():
    with pytest.raises(DeclarationError) as caught:
        trades.filter(c.qty_lots > 1, c.prise_ticks > 1)

    place, line, mark = str(caught.value).splitlines()
    assert re.search(r"test_column_mistakes\.py:\d+: Trade has no field 'prise_ticks'", place)
    assert line.strip() == "trades.filter(c.qty_lots > 1, c.prise_ticks > 1)"
    assert mark == " " * line.index("c.prise_ticks") + "^" * len("c.prise_ticks")
