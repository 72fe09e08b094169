"""The drop copy of the simulated exchange: the own orders of its ITCH messages, as FIX reports.

Whatever happens to an own order is read off the exchange's own messages, so the two feeds cannot
differ. Own are the orders of episodes, and one in OWN_OF of the flow's: desks that only buy and
desks that only sell.
"""

import struct
from dataclasses import dataclass
from decimal import Decimal

from onetape.codecs.fix44.message import FixMessage, encode_message
from onetape.codecs.fix44.write import TICK, price, utc_time
from onetape.compiled.bits import mix

OWN_OF = 64
DESKS = 4
SENDER, TARGET = b"ONEX", b"DESKS"
_NEW, _PARTLY, _FILLED, _CANCELED, _REPLACED, _TRADE = b"0", b"1", b"2", b"4", b"5", b"F"


@dataclass
class _Order:
    account: str
    symbol: bytes
    is_bid: bool
    price: int  # ticks
    lots: int
    first_id: int  # of what it replaces
    done: int = 0
    paid: int = 0  # ticklots

    @property
    def leaves(self) -> int:
        return self.lots - self.done


class DropCopy:
    """`for ts_ns, message in copy.read(body)`: the reports that one ITCH message leads to."""

    def __init__(self, midnight_ns: int) -> None:
        self.accounts: dict[int, str] = {}  # of orders that episodes are about to place
        self.filled: set[int] = set()
        self._placed: dict[int, str] = {}  # accounts of orders that episodes have placed
        self._midnight_ns = midnight_ns
        self._symbols: dict[int, bytes] = {}
        self._orders: dict[int, _Order] = {}
        self._sequence = self._reports = 0

    def is_gone(self, ref: int) -> bool:
        """Was the order withdrawn before anything of it was executed?"""
        return ref not in self._orders and ref not in self.filled

    def account_of(self, ref: int) -> str:
        """Of an order that an episode has placed."""
        return self._placed[ref]

    def logon(self, ts_ns: int) -> bytes:
        """The first message of the session."""
        return self._message(b"A", ts_ns, [(98, b"0"), (108, b"30"), (141, b"Y")])

    def read(self, body: bytes) -> list[tuple[int, bytes]]:
        """(time, report) of an ITCH message, none or one."""
        letter = body[:1]
        if letter == b"R":
            self._symbols[int.from_bytes(body[1:3], "big")] = body[11:19].rstrip()
        if letter not in b"AFECXDU" or len(body) < 19:
            return []
        ts_ns = self._midnight_ns + int.from_bytes(body[5:11], "big")
        ref = int.from_bytes(body[11:19], "big")
        if letter in b"AF":
            return self._added(body, ref, ts_ns)
        order = self._orders.get(ref)
        if order is None:
            return []
        if letter == b"U":
            new_ref, order.lots, order.price = struct.unpack_from(">QII", body, 19)
            order.done = order.paid = 0
            self._orders[new_ref] = self._orders.pop(ref)
            return self._report(new_ref, order, _REPLACED, ts_ns)
        if letter == b"X":
            order.lots -= int.from_bytes(body[19:23], "big")
            return self._report(ref, order, _REPLACED, ts_ns)
        if letter == b"D":
            del self._orders[ref]
            return self._report(ref, order, _CANCELED, ts_ns)
        lots, match = struct.unpack_from(">IQ", body, 19)
        at = int.from_bytes(body[32:36], "big") if letter == b"C" else order.price
        order.done, order.paid = order.done + lots, order.paid + lots * at
        self.filled.add(ref)
        if order.leaves == 0:
            del self._orders[ref]
        fill = [(32, b"%d" % lots), (31, price(at)), (527, b"%d" % match)]
        return self._report(ref, order, _TRADE, ts_ns, fill)

    def _added(self, body: bytes, ref: int, ts_ns: int) -> list[tuple[int, bytes]]:
        is_bid = body[19:20] == b"B"
        account = self.accounts.pop(ref, None)
        if account is not None:
            self._placed[ref] = account
        else:
            word = mix(ref) & 0xFFFF
            if word % OWN_OF:
                return []
            account = f"DESK{2 * (word // OWN_OF % (DESKS // 2)) + is_bid + 1}"
        lots, at = int.from_bytes(body[20:24], "big"), int.from_bytes(body[32:36], "big")
        symbol = self._symbols[int.from_bytes(body[1:3], "big")]
        order = self._orders[ref] = _Order(account, symbol, is_bid, at, lots, ref)
        return self._report(ref, order, _NEW, ts_ns)

    def _report(
        self,
        ref: int,
        order: _Order,
        kind: bytes,
        ts_ns: int,
        fill: list[tuple[int, bytes]] | None = None,
    ) -> list[tuple[int, bytes]]:
        leaves = 0 if kind == _CANCELED else order.leaves
        status = (_PARTLY if leaves else _FILLED) if kind == _TRADE else kind
        average = Decimal(order.paid) / order.done * TICK if order.done else Decimal(0)
        self._reports += 1
        fields = [
            (37, b"%d" % ref),
            (11, b"C%d" % order.first_id),
            (17, b"X%d" % self._reports),
            (150, kind),
            (39, status),
            (1, order.account.encode()),
            (55, order.symbol),
            (54, b"1" if order.is_bid else b"2"),
            (38, b"%d" % order.lots),
            (44, price(order.price)),
            *(fill or []),
            (151, b"%d" % leaves),
            (14, b"%d" % order.done),
            (6, f"{average:.4f}".encode()),
            (60, utc_time(ts_ns)),
        ]
        return [(ts_ns, self._message(b"8", ts_ns, fields))]

    def _message(self, kind: bytes, ts_ns: int, fields: list[tuple[int, bytes]]) -> bytes:
        self._sequence += 1
        head = [(35, kind), (49, SENDER), (56, TARGET), (34, b"%d" % self._sequence)]
        sent = (52, utc_time(ts_ns + 20_000))
        return encode_message(FixMessage(b"FIX.4.4", (*head, sent, *fields)))
