"""Hypothesis strategies for records and for streams of them.

```python
from hypothesis import given
from onetape.testing import strategies as ots

@given(ots.trades(late="5ms"))
def test_it(rows):
    testing.check(pipeline, trade=rows, splits=3)
```

`rows_of` gives any values that fit the fields; `streams_of` a list of rows in event time, as a
source would give them. For the records of a market feed there is one by name whose values make
sense: prices are positive, a bid is below the ask, and the orders of `market_events` are consistent
(what is cancelled or filled lives, with that much left; books never cross).
"""

from collections.abc import Iterable
from typing import Any

from onetape.records import DeclarationError, is_record
from onetape.records.market import (
    ADD,
    ASK,
    BID,
    CANCEL,
    FILL,
    GAP_FILLED,
    GAP_LOST,
    GAP_OPENED,
    LAST,
    MODIFY,
    NO_SIDE,
    OPEN,
    REJECT,
    RULE_BURST_CANCEL,
    TRADE,
    WARN,
    WHOLE,
    Alert,
    Bar,
    Depth,
    Gap,
    MarketEvent,
    OwnOrder,
    OwnOrderInBook,
    TopOfBook,
    Trade,
    Vwap,
)
from onetape.records.types import UNSET, Field, parse_duration_ns
from onetape.testing.feeding import row

try:
    from hypothesis import strategies as st
    from hypothesis.strategies import DrawFn, SearchStrategy
except ImportError as missing:
    raise ImportError(
        "onetape.testing.strategies needs Hypothesis; install it with: pip install "
        "'onetape[testing]'"
    ) from missing

TIME_END_NS = 1 << 62
START_NS = 34_200 * 10**9  # half past nine, of a day that ITCH can tell
PRICE_TICKS = 10_000
INSTRUMENTS = (1, 2, 3)

prices = st.integers(1, 2 * PRICE_TICKS)
lots = st.integers(1, 1_000)


def rows_of(of: Any, **overrides: Any) -> "SearchStrategy[Any]":
    """One record of any values that fit its fields; `overrides` are values or strategies."""
    if not is_record(of):
        raise DeclarationError(f"rows_of was given {of!r}; expected a record, such as mk.Trade")
    row(of, **{name: 0 for name in overrides if name not in of.fields})  # says what it has instead
    fields = {name: _values(name, field) for name, field in of.fields.items()}
    return st.builds(of, **(fields | {name: _strategy(v) for name, v in overrides.items()}))


def streams_of(
    of: Any,
    *,
    by: str = "instrument_id",
    keys: Iterable[int] = INSTRUMENTS,
    late: str | int = 0,
    step: str | int = "1s",
    max_size: int = 30,
    rows: "SearchStrategy[Any] | None" = None,
    **overrides: Any,
) -> "SearchStrategy[list[Any]]":
    """Lists of records in event time, as a source gives them.

    by, keys  the key field, if the record has it, and its values
    late      how far a row may lie behind the newest before it; 0: never
    step      the most time between two rows
    rows      single rows, whose time, key and `sequence` are then set; else any (see `rows_of`)
    """
    late_ns, step_ns = parse_duration_ns(late), parse_duration_ns(step)
    single = rows_of(of, **overrides) if rows is None else rows
    back = st.just(0) if late_ns == 0 else st.one_of(st.just(0), st.integers(0, late_ns))
    parts = st.tuples(st.integers(0, step_ns), back, st.sampled_from(list(keys)), single)

    def stream(drawn: list[Any]) -> list[Any]:
        newest_ns, made = START_NS, []
        for number, (passed_ns, back_ns, key, one) in enumerate(drawn, start=1):
            newest_ns += passed_ns
            known = {"ts_event_ns": newest_ns - back_ns, by: key, "sequence": number}
            known = {n: v for n, v in known.items() if n in of.fields and n not in overrides}
            made.append(one._replace(**known))
            newest_ns = max(newest_ns, made[-1].ts_event_ns)
        return made

    return st.lists(parts, max_size=max_size).map(stream)


def trades(**options: Any) -> "SearchStrategy[list[Any]]":
    """Trades; options as for `streams_of`."""
    one = st.builds(
        lambda price, qty, side, match: row(
            Trade, price_ticks=price, qty_lots=qty, side=side, match_id=match, kind=ord("P")
        ),
        prices, lots, st.sampled_from([BID, ASK, NO_SIDE]), st.integers(1, 10**6),
    )  # fmt: skip
    return streams_of(Trade, **({"rows": one} | options))


def top_of_books(**options: Any) -> "SearchStrategy[list[Any]]":
    """Best bid and ask, the bid below; a side may be empty."""

    def quote(bid: int, spread: int, bid_qty: int, ask_qty: int) -> Any:
        return row(
            TopOfBook,
            bid_price_ticks=bid if bid_qty else UNSET,
            ask_price_ticks=bid + spread if ask_qty else UNSET,
            bid_qty_lots=bid_qty,
            ask_qty_lots=ask_qty,
        )

    size = st.integers(0, 1_000)
    one = st.builds(quote, prices, st.integers(1, 100), size, size)
    return streams_of(TopOfBook, **({"rows": one} | options))


def depths(**options: Any) -> "SearchStrategy[list[Any]]":
    """Ten levels a side, best first, of which the last may be empty."""
    steps = st.lists(st.tuples(st.integers(1, 9), lots), max_size=10)

    def depth(middle: int, bids: Any, asks: Any) -> Any:
        fields: dict[str, Any] = {}
        for side, sign, levels in (("bid", -1, bids), ("ask", 1, asks)):
            price, ladder = middle, []
            for away, _ in levels:
                price += sign * away
                ladder.append(price)
            empty = 10 - len(levels)
            fields[f"{side}_price_ticks"] = ladder + [UNSET] * empty
            fields[f"{side}_qty_lots"] = [qty for _, qty in levels] + [0] * empty
        return row(Depth, **fields)

    one = st.builds(depth, st.integers(100, 2 * PRICE_TICKS), steps, steps)
    return streams_of(Depth, **({"rows": one} | options))


def vwaps(**options: Any) -> "SearchStrategy[list[Any]]":
    """Results of a window of one second."""
    one = st.builds(
        lambda price, qty, count: row(
            Vwap, width_ns=10**9, notional_ticklots=price * qty, qty_lots=qty, trades_count=count
        ),
        prices, lots, st.integers(1, 9),
    )  # fmt: skip
    return streams_of(Vwap, **({"rows": one} | options))


def bars(**options: Any) -> "SearchStrategy[list[Any]]":
    """Bars of one second: low <= open, close <= high."""

    def bar(seen: list[int], qty: int) -> Any:
        ends = {"open_ticks": seen[0], "close_ticks": seen[-1]}
        reach = {"low_ticks": min(seen), "high_ticks": max(seen)}
        return row(Bar, width_ns=10**9, qty_lots=qty, trades_count=len(seen), **ends, **reach)

    one = st.builds(bar, st.lists(prices, min_size=1, max_size=5), lots)
    return streams_of(Bar, **({"rows": one} | options))


def alerts(**options: Any) -> "SearchStrategy[list[Any]]":
    """Alerts that have just opened."""
    one = st.builds(
        lambda number, count: row(
            Alert, alert_id=number, events_count=count, rule=RULE_BURST_CANCEL, state=OPEN,
            severity=WARN,
        ),
        st.integers(1, 2**63 - 1), st.integers(1, 100),
    )  # fmt: skip
    return streams_of(Alert, **({"rows": one} | options))


def gaps(**options: Any) -> "SearchStrategy[list[Any]]":
    """What a feed lacks, has again, or has given up."""
    one = st.builds(
        lambda first, count, waited, state: row(
            Gap, first_sequence=first, messages_count=count, waited_ns=waited, state=state
        ),
        st.integers(1, 10**6), st.integers(1, 100), st.integers(0, 10**9),
        st.sampled_from([GAP_OPENED, GAP_FILLED, GAP_LOST]),
    )  # fmt: skip
    return streams_of(Gap, **({"rows": one} | options))


def own_orders(of: Any = OwnOrder, **options: Any) -> "SearchStrategy[list[Any]]":
    """Reports of orders of one's own; `of` may be OwnOrderInBook. Options as for `streams_of`."""
    in_book = {"level_median_lots": lots, "ahead_lots": lots} if of is OwnOrderInBook else {}
    one = st.builds(
        lambda **fields: row(of, **fields),
        price_ticks=prices,
        qty_lots=lots,
        order_id=st.integers(1, 1_000),
        account_id=st.integers(1, 8),
        side=st.sampled_from([BID, ASK]),
        action=st.sampled_from([ADD, FILL, CANCEL, MODIFY, REJECT]),
        **in_book,
    )
    return streams_of(of, **({"rows": one} | options))


@st.composite
def market_events(
    draw: DrawFn,
    *,
    instruments: Iterable[int] = INSTRUMENTS,
    step: str | int = "1s",
    max_size: int = 30,
) -> list[Any]:
    """The orders of a venue: to a source of MarketEvent, or to an ITCH feed.

    Each order is added once, under an id of its own; what is cancelled, replaced or filled lives,
    with that much left; bids stay below the asks. Times do not go back.
    """
    step_ns, now_ns = parse_duration_ns(step), START_NS
    live: dict[int, tuple[int, int, int]] = {}  # id: instrument, side, lots left
    made: list[Any] = []
    choices = st.sampled_from([ADD, ADD, FILL, CANCEL, MODIFY, WHOLE, TRADE])
    for action in draw(st.lists(choices, max_size=max_size)):
        now_ns += draw(st.integers(0, step_ns))
        number = len(made) + 1
        fields: dict[str, Any] = {"price_ticks": UNSET, "qty_lots": UNSET, "side": NO_SIDE}
        if action in (ADD, TRADE) or not live:
            action = TRADE if action == TRADE else ADD
            side = draw(st.sampled_from([BID, ASK]))
            fields |= {"side": side, "price_ticks": _priced(draw, side), "qty_lots": draw(lots)}
            instrument, order_id = draw(st.sampled_from(list(instruments))), number
            if action == ADD:
                live[order_id] = instrument, side, fields["qty_lots"]
            else:
                fields |= {"other_id": number}
                order_id = 0
        else:
            order_id = draw(st.sampled_from(sorted(live)))
            instrument, side, left = live.pop(order_id)
            if action == MODIFY:
                fields |= {"other_id": number, "price_ticks": _priced(draw, side)}
                fields["qty_lots"] = draw(lots)
                live[number] = instrument, side, fields["qty_lots"]
            elif action != WHOLE:
                taken = draw(st.integers(1, left))
                fields |= {"qty_lots": taken, "other_id": number if action == FILL else 0}
                if taken < left:
                    live[order_id] = instrument, side, left - taken
        flags = LAST | (WHOLE if action == WHOLE else 0)
        fields |= {"action": CANCEL if action == WHOLE else action, "flags": flags}
        fields |= {"order_id": order_id, "instrument_id": instrument, "sequence": number}
        made.append(row(MarketEvent, ts_event_ns=now_ns, ts_recv_ns=UNSET, **fields))
    return made


def _priced(draw: DrawFn, side: int) -> int:
    """Bids below the middle, asks above it."""
    away = draw(st.integers(1, 20))
    return PRICE_TICKS - away if side == BID else PRICE_TICKS + away


def _values(name: str, field: Field) -> "SearchStrategy[Any]":
    if name == "ts_event_ns":
        one: SearchStrategy[Any] = st.integers(0, TIME_END_NS - 1)
    elif field.code == "<f8":
        one = st.floats(allow_nan=False)
    else:
        bits = 8 * int(field.code[2:])
        signed = field.code[1] == "i"
        least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        one = st.integers(least, most)
        if bits == 64 and signed:
            one = st.one_of(st.integers(-1_000, 1_000), one, st.just(UNSET))
    if field.length is None:
        return one
    return st.lists(one, min_size=field.length, max_size=field.length)


def _strategy(value: Any) -> "SearchStrategy[Any]":
    return value if isinstance(value, SearchStrategy) else st.just(value)
