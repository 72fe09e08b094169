"""From options to the state before the first message: who trades how much, at what, and when not.

Activity is Zipf-like: the instrument of rank r has the weight 1 / (r + 1 + flat), where `flat`
grows with the number of instruments so that the first few do not drown the rest. Ranks, prices and
episodes are drawn from the seed; all of it in whole numbers.
"""

from typing import Any

import numpy as np

from onetape.codecs.itch50.write import stock_word
from onetape.compiled import timers as tm
from onetape.records import empty_block
from onetape.sim import exchange_options as limits
from onetape.sim.exchange_options import ExchangeOptions, symbol_of
from onetape.sim.exchange_state import (
    NEVER_NS,
    SETUP,
    STREAMS,
    WINDOW_NS,
    Agenda,
    EpisodePlan,
    Exchange,
    Instrument,
    Market,
    Session,
    lay_out_sides,
)
from onetape.sim.random import LOW_WORD, below, exponential_table, new_streams

ORDERS_TARGET_MIN = 12  # resting on both sides of a quiet instrument together ...
ORDERS_TARGET_MAX = 320  # ... and of a busy one
PAIRS_MIN, PAIRS_MAX = 20, 200
SPAN_MIN_NS, SPAN_MAX_NS = 5 * limits.MILLISECOND_NS, 60 * limits.MILLISECOND_NS
# From one deletion to the fifth after it are at most 5 * 1.5 + 0.75 * 1.5 = 8.6 paces: within the
# window of 10 ms. An episode takes at most 1.5 spans, which is EPISODE_NS.
PACE_MAX_NS = 1 * limits.MILLISECOND_NS


def new_exchange(options: ExchangeOptions) -> Exchange:
    """All state of a run, before its first message. O(instruments + episodes)."""
    streams = new_streams(options.seed, STREAMS)
    weights = _weights(options.instruments, streams)
    targets = _orders_targets(weights, options.rate_per_s)
    instruments = _instruments(targets, streams)
    instruments["alias_share"], instruments["alias"] = alias_table(weights)
    sides, orders = lay_out_sides(targets)
    agenda = _agenda(options, instruments, streams)
    return Exchange(Market(_session(options, streams), instruments, sides, orders), agenda)


def alias_table(weights: list[int]) -> tuple[Any, Any]:
    """(share, alias) to draw a row by weight in O(1): Walker's method, in exact integers.

    Take row i at random, keep it if 32 random bits are below share[i], else take alias[i].
    """
    total, rows = sum(weights), len(weights)
    rest = [weight * rows for weight in weights]
    share = np.full(rows, LOW_WORD + 1, np.int64)
    alias = np.arange(rows, dtype=np.int64)
    poor = [i for i in range(rows) if rest[i] < total]
    rich = [i for i in range(rows) if rest[i] >= total]
    while poor and rich:
        i, j = poor.pop(), rich.pop()
        share[i], alias[i] = (rest[i] << 32) // total, j
        rest[j] -= total - rest[i]
        (poor if rest[j] < total else rich).append(j)
    return share, alias


def _weights(count: int, streams: Any) -> list[int]:
    """The Zipf-like weights, in a drawn order: the first locate code is not the busiest."""
    flat = 5 + count // 20
    weights = [(1 << 40) // (rank + 1 + flat) for rank in range(count)]
    for i in range(count - 1, 0, -1):
        j = below(streams, SETUP, i + 1)
        weights[i], weights[j] = weights[j], weights[i]
    return weights


def _orders_targets(weights: list[int], rate_per_s: float) -> list[int]:
    """Orders that rest on average: about half a second of the instrument's messages."""
    total, rate_per_ks = sum(weights), round(rate_per_s * 1000)
    return [
        min(ORDERS_TARGET_MIN + rate_per_ks * weight // total * 6 // 10_000, ORDERS_TARGET_MAX)
        for weight in weights
    ]


def _instruments(targets: list[int], streams: Any) -> Any:
    block = empty_block(Instrument, len(targets))
    for i, target in enumerate(targets):
        anchor_ticks = (500 + below(streams, SETUP, 500)) << below(streams, SETUP, 7)
        block["stock_word"][i] = stock_word(symbol_of(i))
        block["anchor_ticks"][i] = block["fair_ticks"][i] = anchor_ticks  # 5 to 640 dollars
        block["half_spread_ticks"][i] = 1 + anchor_ticks // 16_000 + below(streams, SETUP, 2)
        block["distance_ticks"][i] = 2 + anchor_ticks // 6_000
        block["orders_target"][i] = target
    block["quiet_from_ns"] = NEVER_NS
    return block


def _agenda(options: ExchangeOptions, instruments: Any, streams: Any) -> Agenda:
    """The episodes in order of their begin; tells the instruments of the quiet before the first."""
    count = options.episodes
    plans = [
        (begin_ns, instrument, *_shape(streams))
        for begin_ns, instrument in _places(options, streams)
    ]
    plans.sort()
    block = empty_block(EpisodePlan, max(count, 1))
    timers, heap = tm.new_timers(max(count, 1))
    following: dict[int, int] = {}
    for slot in range(count - 1, -1, -1):
        begin_ns, instrument, side, pairs, pace_ns = plans[slot]
        block["start_ns"][slot] = block["next_ns"][slot] = begin_ns
        block["instrument"][slot], block["side"][slot] = instrument, side
        block["pairs"][slot], block["pace_ns"][slot] = pairs, pace_ns
        block["following"][slot] = following.get(instrument, -1)
        following[instrument] = slot
        instruments["quiet_from_ns"][instrument] = begin_ns - WINDOW_NS
        tm.set_timer(timers, heap, slot, slot, begin_ns)
    return Agenda(block, timers, heap)


def _places(options: ExchangeOptions, streams: Any) -> list[tuple[int, int]]:
    """(begin, instrument) of each episode: distinct cells of slots x instruments, all alike."""
    cells = options.episodes_max
    moved: dict[int, int] = {}  # a shuffle that remembers only what it has touched
    places = []
    for k in range(options.episodes):
        j = k + below(streams, SETUP, cells - k)
        cell = moved.get(j, j)
        moved[j] = moved.get(k, k)
        slot, instrument = divmod(cell, options.instruments)
        jitter_ns = below(streams, SETUP, limits.JITTER_NS)
        begin_ns = limits.START_NS + limits.LEAD_NS + slot * limits.SLOT_NS + jitter_ns
        places.append((begin_ns, instrument))
    return places


def _shape(streams: Any) -> tuple[int, int, int]:
    """(side, pairs, pace) of one episode."""
    side = below(streams, SETUP, 2)
    pairs = PAIRS_MIN + below(streams, SETUP, PAIRS_MAX - PAIRS_MIN + 1)
    span_ns = SPAN_MIN_NS + below(streams, SETUP, SPAN_MAX_NS - SPAN_MIN_NS + 1)
    return side, pairs, min(span_ns // pairs, PACE_MAX_NS)


def _session(options: ExchangeOptions, streams: Any) -> Any:
    session = empty_block(Session, 1)
    session["start_ns"] = limits.START_NS
    session["end_ns"] = limits.START_NS + options.duration_ns
    session["gap_mean_ns"] = round(limits.SECOND_NS / options.rate_per_s)
    session["flow_next_ns"] = limits.START_NS
    session["flow_instrument"] = -1
    session["streams"] = streams
    session["exponential"] = exponential_table()
    return session
