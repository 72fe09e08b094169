"""The instruments of venues, and what is the same asset at each of them.

    binance:BTCUSDT, kraken:BTC/USD, kraken:XBT/USD   ->   BTC/USD

An asset is a base and a quote, each by its common name: XBT is BTC, and a dollar is a dollar, be it
USD or one of its stablecoins (whose own price is then part of the difference one sees). Its id is
the CRC-32 (zlib) of that text, so it is the same in every pipeline and on every tape; two assets
with one id are refused where the second is declared.
"""

import zlib
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from onetape.records import DeclarationError
from onetape.records.places import here

VENUES = {"binance": "BTCUSDT", "kraken": "BTC/USD"}  # and a symbol as each writes it
SAME = {"XBT": "BTC", "USDT": "USD", "USDC": "USD", "XDG": "DOGE"}
QUOTES = ("USDT", "USDC", "USD", "EUR", "GBP", "BTC", "ETH")  # the ends of a symbol in one word

# What one tick is in the rows of a venue: no venue here has finer prices.
VENUE_TICK = Decimal("0.00000001")


@dataclass(frozen=True)
class Instrument:
    """One instrument of one venue; `asset` is "BTC/USD" wherever that is traded."""

    venue: str
    symbol: str
    asset: str

    @property
    def instrument_id(self) -> int:
        return id_of(f"{self.venue}:{self.symbol}")

    @property
    def asset_id(self) -> int:
        return id_of(self.asset)

    def __str__(self) -> str:
        return f"{self.venue}:{self.symbol}"


@dataclass(frozen=True)
class Channel:
    """What a venue sends about one instrument: rows of the record `of`."""

    instrument: Instrument
    of: Any

    def __str__(self) -> str:
        return f"{self.instrument} {self.of.__name__}"


def id_of(name: str) -> int:
    """The id of an asset or an instrument by its name: 1 to 2**32 - 1."""
    return zlib.crc32(name.encode("ascii"))


def instrument_of(address: str) -> Instrument:
    """The instrument at "binance:BTCUSDT"; DeclarationError says what is wrong with it."""
    venue, _, symbol = address.partition(":")
    base, slash, quote = symbol.partition("/")
    if not slash:
        ends = [end for end in QUOTES if symbol.endswith(end) and symbol != end]
        quote = ends[0] if ends else ""
        base = symbol.removesuffix(quote)
    if not all(p.isascii() and p.isalnum() and p == p.upper() for p in (base, quote)):
        raise DeclarationError(
            here().says(
                f"source {address!r}: {symbol!r} is no pair of a base and a quote; expected one as "
                f"'{venue}:{VENUES[venue]}' (quotes in one word: {', '.join(QUOTES)})"
            )
        )
    if SAME.get(base, base) == SAME.get(quote, quote):
        raise DeclarationError(
            here().says(
                f"source {address!r}: {base} and {quote} count as one asset here; a pair of two is "
                "expected"
            )
        )
    found = Instrument(venue, symbol, f"{SAME.get(base, base)}/{SAME.get(quote, quote)}")
    for name in (str(found), found.asset):
        check_id(name, _declared)
    return found


def check_id(name: str, declared: dict[int, str]) -> None:
    """Note the name under its id; DeclarationError: the id is another's, or 0, which is nobody's"""
    other = declared.setdefault(id_of(name), name)
    if other != name or id_of(name) == 0:
        raise DeclarationError(
            f"{name} and {other} have one id, {id_of(name)}; they cannot be in one program: run "
            "them apart"
        )


_declared: dict[int, str] = {}
