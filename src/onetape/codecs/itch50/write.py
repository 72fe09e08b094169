"""Write ITCH 5.0 messages, one kernel a message type: what a simulated exchange sends.

Each kernel writes one message body (no length prefix) at buffer[at:] and returns its length in
bytes; the caller leaves room (50, for the longest). All arguments are integers: `stock_word` is the
symbol's eight ASCII bytes, padded with spaces, as one big-endian word (`stock_word("AAPL")`);
`ts_ns` counts from midnight New York and has 48 bits; prices are ticks of 0.0001; side is BID or
ASK of records.market (the letter 'S' is taken too). Layouts as in `spec.py`, held equal by a test.
About 6 ns a message, in a random order of types.
"""

from onetape.compiled.kernel import kernel
from onetape.compiled.memory import store_i64be, store_u16be, store_u32be
from onetape.records.market import ASK

_S, _R, _H, _A, _F, _E, _C, _X, _D, _U, _P = b"SRHAFECXDUP"
_NO, _COMMON_STOCK, _NOT_APPLICABLE, _PRODUCTION, _TIER_1, _SPACE = b"NCZP1 "


def stock_word(symbol: str) -> int:
    """'AAPL' -> the int64 whose big-endian bytes are b'AAPL    '. At most eight ASCII letters."""
    if len(symbol) > 8:
        raise ValueError(f"symbol {symbol!r} has {len(symbol)} letters; expected at most 8")
    return int.from_bytes(symbol.encode("ascii").ljust(8), "big", signed=True)


@kernel
def _head(buffer, at, letter, locate, tracking, ts_ns):
    buffer[at] = letter
    store_u16be(buffer, at + 1, locate)
    store_u16be(buffer, at + 3, tracking)
    store_u16be(buffer, at + 5, ts_ns >> 32)
    store_u32be(buffer, at + 7, ts_ns)


@kernel
def _side_letter(side):
    return _S if side == ASK else side


@kernel
def write_system_event(buffer, at, locate, tracking, ts_ns, event_code):
    """'S': the day's phases, event_code one of O S Q M E C."""
    _head(buffer, at, _S, locate, tracking, ts_ns)
    buffer[at + 11] = event_code
    return 12


@kernel
def write_directory(
    buffer, at, locate, tracking, ts_ns, stock_word, market_category, financial_status, lot_size
):
    """'R': a stock's locate code and symbol. The rest says: common stock, live, not an ETP."""
    _head(buffer, at, _R, locate, tracking, ts_ns)
    store_i64be(buffer, at + 11, stock_word)
    buffer[at + 19] = market_category
    buffer[at + 20] = financial_status
    store_u32be(buffer, at + 21, lot_size)
    buffer[at + 25] = _NO  # odd and mixed lots are accepted too
    buffer[at + 26] = _COMMON_STOCK
    buffer[at + 27] = _NOT_APPLICABLE  # issue sub-type
    buffer[at + 28] = _SPACE
    buffer[at + 29] = _PRODUCTION
    buffer[at + 30] = _NO  # short sale threshold
    buffer[at + 31] = _NO  # initial public offering
    buffer[at + 32] = _TIER_1  # of limit up, limit down
    buffer[at + 33] = _NO  # exchange traded product
    store_u32be(buffer, at + 34, 0)  # its leverage
    buffer[at + 38] = _NO  # inverse
    return 39


@kernel
def write_trading_action(buffer, at, locate, tracking, ts_ns, stock_word, state):
    """'H': trading state, one of H (halted) P (paused) Q (quotes only) T (trading)."""
    _head(buffer, at, _H, locate, tracking, ts_ns)
    store_i64be(buffer, at + 11, stock_word)
    buffer[at + 19] = state
    buffer[at + 20] = _SPACE
    store_u32be(buffer, at + 21, 0x20202020)  # reason: none stated
    return 25


@kernel
def write_add(buffer, at, locate, tracking, ts_ns, order_ref, side, shares, stock_word, price):
    """'A': a new order, without the name of who placed it."""
    _head(buffer, at, _A, locate, tracking, ts_ns)
    _order(buffer, at, order_ref, side, shares, stock_word, price)
    return 36


@kernel
def write_add_mpid(
    buffer, at, locate, tracking, ts_ns, order_ref, side, shares, stock_word, price, mpid_word
):
    """'F': a new order with the four letters of the market participant (u32, big-endian)."""
    _head(buffer, at, _F, locate, tracking, ts_ns)
    _order(buffer, at, order_ref, side, shares, stock_word, price)
    store_u32be(buffer, at + 36, mpid_word)
    return 40


@kernel
def _order(buffer, at, order_ref, side, shares, stock_word, price):
    store_i64be(buffer, at + 11, order_ref)
    buffer[at + 19] = _side_letter(side)
    store_u32be(buffer, at + 20, shares)
    store_i64be(buffer, at + 24, stock_word)
    store_u32be(buffer, at + 32, price)


@kernel
def write_executed(buffer, at, locate, tracking, ts_ns, order_ref, shares, match):
    """'E': a resting order was executed at its own price."""
    _head(buffer, at, _E, locate, tracking, ts_ns)
    store_i64be(buffer, at + 11, order_ref)
    store_u32be(buffer, at + 19, shares)
    store_i64be(buffer, at + 23, match)
    return 31


@kernel
def write_executed_price(
    buffer, at, locate, tracking, ts_ns, order_ref, shares, match, printable, price
):
    """'C': executed at another price; printable is 'Y' or 'N'."""
    _head(buffer, at, _C, locate, tracking, ts_ns)
    store_i64be(buffer, at + 11, order_ref)
    store_u32be(buffer, at + 19, shares)
    store_i64be(buffer, at + 23, match)
    buffer[at + 31] = printable
    store_u32be(buffer, at + 32, price)
    return 36


@kernel
def write_cancel(buffer, at, locate, tracking, ts_ns, order_ref, shares):
    """'X': `shares` of the order were withdrawn, some remain."""
    _head(buffer, at, _X, locate, tracking, ts_ns)
    store_i64be(buffer, at + 11, order_ref)
    store_u32be(buffer, at + 19, shares)
    return 23


@kernel
def write_delete(buffer, at, locate, tracking, ts_ns, order_ref):
    """'D': the whole order was withdrawn."""
    _head(buffer, at, _D, locate, tracking, ts_ns)
    store_i64be(buffer, at + 11, order_ref)
    return 19


@kernel
def write_replace(buffer, at, locate, tracking, ts_ns, old_ref, new_ref, shares, price):
    """'U': replaced by a new order; side and stock stay, priority is lost."""
    _head(buffer, at, _U, locate, tracking, ts_ns)
    store_i64be(buffer, at + 11, old_ref)
    store_i64be(buffer, at + 19, new_ref)
    store_u32be(buffer, at + 27, shares)
    store_u32be(buffer, at + 31, price)
    return 35


@kernel
def write_trade(
    buffer, at, locate, tracking, ts_ns, order_ref, side, shares, stock_word, price, match
):
    """'P': an execution against an order that was never shown."""
    _head(buffer, at, _P, locate, tracking, ts_ns)
    _order(buffer, at, order_ref, side, shares, stock_word, price)
    store_i64be(buffer, at + 36, match)
    return 44
