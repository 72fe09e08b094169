"""Order flow for the tests of this room, from a seed: sane, or anything at all."""

import random

from onetape.records.market import (
    ADD,
    ASK,
    BID,
    CANCEL,
    CROSS,
    FILL,
    HAS_PRICE,
    MODIFY,
    NO_SIDE,
    NOT_PRINTABLE,
    OTHER,
    TRADE,
    WHOLE,
    MarketEvent,
)
from onetape.records.types import UNSET


def event(ts_ns, action, order_id, **fields):
    """A MarketEvent with the fields that matter."""
    values = dict.fromkeys(MarketEvent._fields, 0)
    values |= {"side": NO_SIDE, "price_ticks": UNSET, "qty_lots": UNSET, "instrument_id": 1}
    values |= {"ts_event_ns": ts_ns, "action": action, "order_id": order_id, "kind": action}
    return MarketEvent(**(values | fields))


def sane_flow(seed, count, instruments=3, depth_ticks=30, step_ns=2_000_000):
    """What a venue sends: books never cross, every reference is to an order that lives."""
    rng = random.Random(seed)
    made, live, ts_ns, next_id = [], [], 0, 1
    while len(made) < count:
        ts_ns += rng.randrange(step_ns)
        sequence = len(made) + 1
        if not live or rng.random() < 0.5:
            side = rng.choice([BID, ASK])
            away = rng.randrange(1, depth_ticks)
            fields = {
                "side": side,
                "price_ticks": 1000 + (away if side == ASK else -away),
                "qty_lots": 100 * rng.randrange(1, 10),
                "instrument_id": rng.randrange(instruments),
            }
            live.append([next_id, fields["instrument_id"], side, fields["qty_lots"]])
            made.append(event(ts_ns, ADD, next_id, sequence=sequence, **fields))
            next_id += 1
            continue
        order = rng.choice(live)
        order_id, instrument, side, left = order
        fields = {"instrument_id": instrument, "sequence": sequence}
        dice = rng.random()
        if dice < 0.4:
            live.remove(order)
            made.append(event(ts_ns, CANCEL, order_id, flags=WHOLE, **fields))
        elif dice < 0.6:
            away = rng.randrange(1, depth_ticks)
            fields["price_ticks"] = 1000 + (away if side == ASK else -away)
            order[:] = [next_id, instrument, side, 100 * rng.randrange(1, 10)]
            fields |= {"other_id": next_id, "qty_lots": order[3]}
            made.append(event(ts_ns, MODIFY, order_id, **fields))
            next_id += 1
        else:
            taken = rng.randrange(1, left + 1)
            order[3] -= taken
            if order[3] == 0:
                live.remove(order)
            if dice < 0.7:
                made.append(event(ts_ns, CANCEL, order_id, qty_lots=taken, **fields))
                continue
            fields |= {"qty_lots": taken, "other_id": 10**6 + sequence}
            if rng.random() < 0.2:
                fields |= {"price_ticks": 1000, "flags": HAS_PRICE | rng.choice([0, NOT_PRINTABLE])}
            made.append(event(ts_ns, FILL, order_id, **fields))
    return made


PRICES = [0, -5, UNSET, 2**48, 2**48 + 1, -(2**62)]
QUANTITIES = [0, -3, UNSET, 2**40, 2**40 + 1, 2**63 - 1]
FLAGS = [WHOLE, HAS_PRICE, HAS_PRICE | NOT_PRINTABLE, CROSS, NOT_PRINTABLE, 255]


def hostile_flow(seed, count, instruments=4, odd=0.1):
    """Any messages: unknown, repeated and wrong references, overfills; a share that is absurd.

    Ids and prices are few, so that most messages meet an order or a level that is there.
    """
    rng = random.Random(seed)

    def one(some, absurd):
        return rng.choice(absurd) if rng.random() < odd else rng.choice(some)

    made, ts_ns = [], 0
    for n in range(count):
        ts_ns += rng.randrange(20)
        made.append(
            MarketEvent(
                ts_event_ns=ts_ns,
                ts_recv_ns=0,
                order_id=one(range(8), [2**63, 2**64 - 1]),
                other_id=one(range(8), [2**63, 2**64 - 1]),
                price_ticks=one(range(98, 104), PRICES),
                qty_lots=one(range(1, 13), QUANTITIES),
                sequence=n + 1,
                instrument_id=one([1], range(instruments)),
                action=one([ADD, ADD, ADD, CANCEL, MODIFY, FILL, FILL], [TRADE, OTHER, 0, 255]),
                side=one([BID, ASK], [NO_SIDE, 0]),
                flags=one([0], FLAGS),
                kind=65,
            )
        )
    return made
