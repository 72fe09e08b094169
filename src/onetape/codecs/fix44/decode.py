"""An ExecutionReport's fields to an OwnOrder: what is missing or out of range is refused.

    150=0 New        ADD, qty of the order       150=F Trade      FILL, LastQty at LastPx
    150=5 Replaced   MODIFY, as it is now        150=8 Rejected   REJECT
    150=4 3 C        CANCEL, WHOLE: canceled, done for the day, expired; qty is what was withdrawn
    else             OTHER: pending, status, trade corrections; the order is as it was

Prices are ticks of 0.0001, quantities lots of one; a finer one is refused. The event time is
TransactTime, else SendingTime.
"""

from onetape.codecs.feed import (
    BAD_FIELD,
    BAD_SIDE,
    EVENT,
    FIELD_MISSING,
    PRICE_OUT_OF_RANGE,
    QTY_OUT_OF_RANGE,
    TIME_OUT_OF_DAY,
    refuse,
)
from onetape.codecs.fix44.spec import (
    ACCOUNT,
    CUM_QTY,
    EXEC_TYPE,
    LAST_PX,
    LAST_QTY,
    LEAVES_QTY,
    MATCH,
    ORDER_ID,
    ORDER_QTY,
    PRICE,
    SENDING_TIME,
    SIDE,
    SPOT_BYTES,
    SYMBOL,
    TRANSACT_TIME,
)
from onetape.codecs.fix44.values import BAD, decimal, id_word, name_id, text_word, time_ns
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import load_i64le
from onetape.compiled.rows import row
from onetape.records.market import (
    ADD,
    ASK,
    BID,
    CANCEL,
    FILL,
    LAST,
    LOTS_MAX,
    MODIFY,
    NO_SIDE,
    OTHER,
    REJECT,
    WHOLE,
)
from onetape.records.types import UNSET

PRICE_PLACES = 4
PRICE_MAX = 1 << 48  # ticks, as in the books
SYMBOL_BYTES_MAX = 64

_NEW, _TRADE, _REPLACED, _REJECTED, _CANCELED, _DONE, _EXPIRED = b"0F5843C"
_BUY, _SELL, _BUY_MINUS, _SELL_PLUS, _SHORT, _SHORT_EXEMPT, _ONE, _G = b"123456" + b"1G"


@kernel
def begin_of(spots, slot):
    """Where the value of a field begins; 0: there is none."""
    return load_i64le(spots, slot * SPOT_BYTES)


@kernel
def end_of(spots, slot):
    return load_i64le(spots, slot * SPOT_BYTES + 8)


@kernel
def lots_of(buffer, spots, slot):
    """A quantity in lots, UNSET where there is none, -1 where it is none."""
    at = begin_of(spots, slot)
    if at == 0:
        return UNSET
    lots = decimal(buffer, at, end_of(spots, slot), 0)
    return -1 if lots < 0 or lots > LOTS_MAX else lots


@kernel
def action_of(letter):
    """What an ExecType does to the order."""
    if letter == _NEW:
        return ADD
    if letter == _TRADE:
        return FILL
    if letter == _CANCELED or letter == _DONE or letter == _EXPIRED:
        return CANCEL
    if letter == _REPLACED:
        return MODIFY
    return REJECT if letter == _REJECTED else OTHER


@kernel
def side_of(letter):
    """BID, ASK or NO_SIDE; 0: no side of FIX."""
    if letter == _BUY or letter == _BUY_MINUS:
        return BID
    if letter == _SELL or _SELL_PLUS <= letter <= _SHORT_EXEMPT:
        return ASK
    return NO_SIDE if _ONE <= letter <= _G else 0


@kernel
def report(feed, buffer, spots, sequence, ts_recv_ns, orders):
    """The report whose fields stand in `spots` as orders[0]: EVENT, or REFUSED and counted."""
    symbol, side_at = begin_of(spots, SYMBOL), begin_of(spots, SIDE)
    kind_at, order_at = begin_of(spots, EXEC_TYPE), begin_of(spots, ORDER_ID)
    time = TRANSACT_TIME if begin_of(spots, TRANSACT_TIME) != 0 else SENDING_TIME
    if min(symbol, side_at, kind_at, order_at, begin_of(spots, time)) == 0:
        return refuse(feed, FIELD_MISSING)
    if end_of(spots, EXEC_TYPE) - kind_at != 1 or end_of(spots, SIDE) - side_at != 1:
        return refuse(feed, BAD_FIELD)
    if end_of(spots, SYMBOL) - symbol > SYMBOL_BYTES_MAX:
        return refuse(feed, BAD_FIELD)
    ts_ns = time_ns(buffer, begin_of(spots, time), end_of(spots, time))
    if ts_ns == BAD:
        return refuse(feed, TIME_OUT_OF_DAY)
    side = side_of(int(buffer[side_at]))
    if side == 0:
        return refuse(feed, BAD_SIDE)
    kind = int(buffer[kind_at])
    action = action_of(kind)
    order_lots, done = lots_of(buffer, spots, ORDER_QTY), lots_of(buffer, spots, CUM_QTY)
    leaves, last = lots_of(buffer, spots, LEAVES_QTY), lots_of(buffer, spots, LAST_QTY)
    if order_lots == -1 or done == -1 or leaves == -1 or last == -1:
        return refuse(feed, QTY_OUT_OF_RANGE)
    qty = last if action == FILL else order_lots
    if leaves == UNSET or (qty == UNSET and (action == FILL or action == ADD)):
        return refuse(feed, FIELD_MISSING)
    if action == CANCEL and qty != UNSET:
        qty = max(qty - max(done, 0), 0)
    price_at = LAST_PX if action == FILL else PRICE
    price = UNSET
    if begin_of(spots, price_at) != 0:
        price = decimal(buffer, begin_of(spots, price_at), end_of(spots, price_at), PRICE_PLACES)
        if price > PRICE_MAX or price < -PRICE_MAX:  # BAD is below
            return refuse(feed, PRICE_OUT_OF_RANGE)
    account, match = begin_of(spots, ACCOUNT), begin_of(spots, MATCH)

    o = row(orders, 0)
    o.ts_event_ns = ts_ns
    o.ts_recv_ns = ts_recv_ns
    o.order_id = id_word(buffer, order_at, end_of(spots, ORDER_ID))
    o.account_id = text_word(buffer, account, end_of(spots, ACCOUNT)) if account != 0 else 0
    o.match_id = id_word(buffer, match, end_of(spots, MATCH)) if match != 0 else 0
    o.symbol_word = text_word(buffer, symbol, end_of(spots, SYMBOL))
    o.price_ticks = price
    o.qty_lots = qty
    o.leaves_lots = leaves
    o.sequence = sequence
    o.instrument_id = name_id(buffer, symbol, end_of(spots, SYMBOL))
    o.action = action
    o.side = side
    o.flags = LAST | WHOLE if action == CANCEL else LAST
    o.kind = kind
    feed.last_ts_event_ns = ts_ns
    feed.messages += 1
    feed.by_type[kind] += 1
    return EVENT
