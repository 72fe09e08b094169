"""The records of a market feed. Field names follow Databento's DBN where it has them.

Prices are integer ticks, quantities integer lots, times int64 ns since 1970-01-01 UTC.
`sequence` is the venue's own number of the message that caused the record (the ordinal in the
file where the venue gives none), so it does not change with framing or with a lost tail.
"""

from onetape.records.declare import record
from onetape.records.types import Array, i32, i64, u8, u16, u32, u64

# What happened to an order: the values of MarketEvent.action (DBN's letters, as bytes).
ADD = ord("A")
"""A new order (DBN's letters, as bytes, are the values of `action`).

```python
added = feed.events().filter(c.action == mk.ADD)
```
"""
CANCEL = ord("C")
"""All or part of an order was withdrawn.

```python
withdrawn = feed.events().filter(c.action == mk.CANCEL)
```
"""
MODIFY = ord("M")
"""An order was replaced: new id, price and size, time priority lost.

```python
replaced = feed.events().filter(c.action == mk.MODIFY)
```
"""
FILL = ord("F")
"""A resting order was executed.

```python
filled = feed.events().filter(c.action == mk.FILL)
```
"""
TRADE = ord("T")
"""An execution against an order that was never shown.

```python
hidden = feed.events().filter(c.action == mk.TRADE)
```
"""
REJECT = ord("J")
"""An order of one's own was refused by the venue.

```python
refused = orders.filter(c.action == mk.REJECT)
```
"""
OTHER = ord("N")  # a message that changes no order (status, directory, imbalance ...)

BID = ord("B")
"""The side that buys.

```python
resting_bids = trades.filter(c.side == mk.BID)
```
"""
ASK = ord("A")
"""The side that sells.

```python
resting_asks = trades.filter(c.side == mk.ASK)
```
"""
NO_SIDE = ord("N")

# Bits of `flags`.
LATE = 1
"""A bit of `flags`: of an event that came later than its source allows; of a window's row, that
one made it be told again.

```python
on_time = trades.filter(c.flags % 2 == 0)  # the lowest bit
```
"""
NOT_PRINTABLE = 2  # an execution that other reports count already
HAS_PRICE = 4  # a FILL that states its own price (ITCH 'C'), not the order's
WHOLE = 8  # a CANCEL that withdraws the whole order; qty_lots is then UNSET
CROSS = 16  # a trade of an auction
STALE = 32
"""A bit of `flags`: made after messages of its feed were lost, so it may be wrong.

```python
is_doubtful = testing.row(mk.Trade, flags=mk.STALE).flags & mk.STALE != 0
```
"""
EARLY = 64
"""A bit of `flags`: of a window that is still open; a later row of it takes this one's place.

```python
is_final = testing.row(mk.Bar, flags=mk.EARLY).flags & mk.EARLY == 0
```
"""
LAST = 128  # the last event of one message

FLAG_NAMES = {
    "late": LATE,
    "not_printable": NOT_PRINTABLE,
    "has_price": HAS_PRICE,
    "whole": WHOLE,
    "cross": CROSS,
    "stale": STALE,
    "early": EARLY,
    "last": LAST,
}


@record
class MarketEvent:
    """One message about one order, as the venue sent it; one cache line.

    ```python
    added = testing.row(mk.MarketEvent, action=mk.ADD, side=mk.BID, price_ticks=990_000)
    ```
    """

    ts_event_ns: i64
    ts_recv_ns: i64
    order_id: u64
    other_id: u64  # MODIFY: the new order id; FILL, TRADE: the match number; 'R': the symbol
    price_ticks: i64  # UNSET where the message has none
    qty_lots: i64
    sequence: i64
    instrument_id: u32
    action: u8
    side: u8
    flags: u8
    kind: u8  # the venue's own message type letter


@record
class Trade:
    """An execution, at the price it happened; one cache line.

    ```python
    sold = testing.row(mk.Trade, price_ticks=990_000, qty_lots=100, side=mk.BID)
    ```
    """

    ts_event_ns: i64
    price_ticks: i64
    qty_lots: i64
    order_id: u64  # the resting order, 0 where it was never shown
    match_id: u64
    sequence: i64
    instrument_id: u32
    side: u8  # of the resting order
    flags: u8
    kind: u8
    asset_id: u32 = 0  # the same at every venue; of a feed without others: instrument_id
    reserved: u32 = 0


@record
class TopOfBook:
    """Best bid and ask; one cache line. A side without orders has price UNSET and size 0.

    ```python
    wide = tops.filter(c.ask_price_ticks - c.bid_price_ticks > 300)
    ```
    """

    ts_event_ns: i64
    bid_price_ticks: i64
    ask_price_ticks: i64
    bid_qty_lots: i64
    ask_qty_lots: i64
    sequence: i64
    instrument_id: u32
    flags: u32
    asset_id: u32 = 0
    reserved: u32 = 0


@record
class Depth:
    """The ten best levels of each side, best first; empty levels have price UNSET and size 0.

    ```python
    @ot.operator
    def second_bid(d: mk.Depth) -> Jump | None:
        return Jump(d.ts_event_ns, d.instrument_id, d.bid_price_ticks[1])
    ```
    """

    ts_event_ns: i64
    sequence: i64
    bid_price_ticks: Array[i64, 10]
    ask_price_ticks: Array[i64, 10]
    bid_qty_lots: Array[i64, 10]
    ask_qty_lots: Array[i64, 10]
    instrument_id: u32
    flags: u32


@record
class Vwap:
    """Volume-weighted price of the window [ts_event_ns - width_ns, ts_event_ns).

    The average is notional_ticklots / qty_lots; the division is left to the reader.

    ```python
    averages = mk.vwap(trades).select(ticks=c.notional_ticklots // c.qty_lots)
    ```
    """

    ts_event_ns: i64  # the end of the window
    width_ns: i64
    notional_ticklots: i64
    qty_lots: i64
    instrument_id: u32
    trades_count: u32
    flags: u32
    reserved: u32


@record
class Bar:
    """Open, high, low, close and volume of [ts_event_ns - width_ns, ts_event_ns).

    ```python
    wide = mk.bars(trades).filter(c.high_ticks - c.low_ticks > 1_000)
    ```
    """

    ts_event_ns: i64  # the end of the bar
    width_ns: i64
    open_ticks: i64
    high_ticks: i64
    low_ticks: i64
    close_ticks: i64
    qty_lots: i64
    instrument_id: u32
    trades_count: u32
    flags: u32
    reserved: u32


@record
class Alert:
    """A pattern was seen; updated once when its episode ends.

    `alert_id` is the same in both and in every replay: it is made from the rule, the instrument
    and the venue sequence of the first event. Evidence is the first events of the episode.

    ```python
    opened = burst_cancel(feed.events()).filter(c.state == mk.OPEN)
    ```
    """

    ts_event_ns: i64
    alert_id: u64
    first_ts_ns: i64
    events_count: i64
    evidence_order_id: Array[u64, 16]
    evidence_sequence: Array[i64, 16]
    instrument_id: u32
    rule: u16
    state: u8  # OPEN or CLOSED
    severity: u8
    evidence_count: i32
    flags: u32


@record
class Gap:
    """Messages of a feed are missing, have come after all, or are given up.

    ```python
    lost = feed.gaps().filter(c.state == mk.GAP_LOST)
    ```
    """

    ts_event_ns: i64  # of the last event before
    ts_recv_ns: i64  # when it was known
    first_sequence: i64
    messages_count: i64  # OPENED: seen to be missing; FILLED: that waited or were waited for
    waited_ns: i64  # since the gap opened, by receive time
    state: u32  # GAP_OPENED, GAP_FILLED or GAP_LOST
    flags: u32


@record
class OwnOrder:
    """What became of an order of one's own: a FIX ExecutionReport.

    ```python
    filled = testing.row(mk.OwnOrder, action=mk.FILL, side=mk.BID, qty_lots=100)
    ```

    What `qty_lots` and `price_ticks` are depends on `action`: ADD, MODIFY and REJECT, of the order;
    FILL, of the execution; CANCEL, what was withdrawn.
    """

    ts_event_ns: i64  # TransactTime
    ts_recv_ns: i64
    order_id: u64  # the venue's, as the public feed has it; a text that is no number: its hash
    account_id: u64  # the first eight letters as a word; a longer text: its hash; 0: none
    match_id: u64  # FILL: the public feed's match number, where it is told
    symbol_word: u64
    price_ticks: i64  # UNSET where the message has none
    qty_lots: i64
    leaves_lots: i64  # what of the order goes on
    sequence: i64  # MsgSeqNum
    instrument_id: u32  # CRC-32 of the symbol; with a book joined, the public feed's
    action: u8  # ADD, FILL, CANCEL, MODIFY, REJECT; else the report changes no order
    side: u8
    flags: u8
    kind: u8  # ExecType


@record
class OwnOrderInBook:
    """An order of one's own and the public book as it was then, own orders left out.

    ```python
    big = mine.filter(c.qty_lots > 10 * c.level_median_lots)
    ```

    `level_median_lots` is the median size of the ten best levels of the order's side that others
    have orders at (the lower of the two in the middle). Where there is none it is LOTS_MAX, so that
    nothing is large beside it; after a loss `flags` has STALE.
    """

    ts_event_ns: i64
    ts_recv_ns: i64
    order_id: u64
    account_id: u64
    match_id: u64
    symbol_word: u64
    price_ticks: i64
    qty_lots: i64
    leaves_lots: i64
    sequence: i64
    level_median_lots: i64
    ahead_lots: i64  # of others at better prices than the order's, in the 32 best levels
    bid_price_ticks: i64  # of the whole book, own orders included
    ask_price_ticks: i64
    bid_qty_lots: i64
    ask_qty_lots: i64
    instrument_id: u32
    action: u8
    side: u8
    flags: u8
    kind: u8


LOTS_MAX = 1 << 40
"""The most lots an order may have: a median where there is nothing to compare with.

```python
known = mine.filter(c.level_median_lots < mk.LOTS_MAX)
```
"""

GAP_OPENED = 1
"""Messages are missing and later ones are here.

```python
began = feed.gaps().filter(c.state == mk.GAP_OPENED)
```
"""
GAP_FILLED = 2
"""They came after all: nothing is lost.

```python
filled = feed.gaps().filter(c.state == mk.GAP_FILLED)
```
"""
GAP_LOST = 3
"""They are given up: what follows is `STALE`.

```python
lost = feed.gaps().filter(c.state == mk.GAP_LOST)
```
"""

OPEN = 1
"""An alert's episode has begun.

```python
opened = burst_cancel(feed.events()).filter(c.state == mk.OPEN)
```
"""
CLOSED = 2
"""An alert's episode is over; the same `alert_id` as when it opened.

```python
over = burst_cancel(feed.events()).filter(c.state == mk.CLOSED)
```
"""
WARN, CRITICAL = 1, 2
RULE_BURST_CANCEL = 1

# {record: {field: {value: what it is called}}}; of other fields see docs/RECORDS.md.
VALUES = {
    "Alert": {
        "state": {OPEN: "open", CLOSED: "closed"},
        "severity": {WARN: "warn", CRITICAL: "critical"},
    },
    "Gap": {"state": {GAP_OPENED: "opened", GAP_FILLED: "filled", GAP_LOST: "lost"}},
}

assert MarketEvent.dtype.itemsize == 64  # type: ignore[attr-defined]
assert Trade.dtype.itemsize == 64  # type: ignore[attr-defined]
assert TopOfBook.dtype.itemsize == 64  # type: ignore[attr-defined]
