"""Orders of one's own: a drop copy as a source, and its orders with the public book joined."""

from typing import Any

from onetape.engine.graph import Source, Stream
from onetape.market.own_book import WithBook
from onetape.records import DeclarationError
from onetape.records.market import OwnOrder
from onetape.records.places import here


class OwnOrders(Stream):
    """What becomes of one's own orders, report by report.

    ```python
    mine = ot.source("fix:drop.fix").orders().with_book(ot.source("itch:day.itch"))
    ```
    """

    def with_book(self, public: Any, *, capacity: dict[str, int] | None = None) -> Stream:
        """Each order with the book of the public feed as it was when the report arrived."""
        return joined(self, public, capacity or {})


def joined(orders: Stream, public: Any, capacity: dict[str, int]) -> Stream:
    """The node of `with_book`; DeclarationError: the feed sends no orders."""
    source = getattr(public, "_source", None)
    if source is None or source.feed != "itch":
        raise DeclarationError(
            here().says(
                f"with_book was given {public!r}; expected a feed of orders: "
                'ot.source("itch+udp://HOST:PORT")'
            )
        )
    made: Stream = WithBook(events=public.events(), orders=orders, capacity=capacity)
    return made


def own_orders(source: Source) -> OwnOrders:
    """All reports of a source of them."""
    return OwnOrders(source, "events", OwnOrder)
