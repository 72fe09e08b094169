"""Windows by definition: for each key and each end, all events in [start, end), then one sum.

Rows are anything with the fields as attributes. They are on time: who is late is decided before
(`on_time`). Results come in the order in which windows end, equal ends in key order.
"""

import math
from fractions import Fraction

FAR = 2**62  # the watermark after the end


def on_time(rows, lateness_ns=0):
    """(rows on time, late rows): late is what is older than the newest so far less the lateness."""
    kept, late, newest = [], [], None
    for row in rows:
        if newest is not None and row.ts_event_ns < newest - lateness_ns:
            late.append(row)
        else:
            kept.append(row)
        newest = row.ts_event_ns if newest is None else max(newest, row.ts_event_ns)
    return kept, late


def windows(rows, width_ns, every_ns=None, key="instrument_id", until_ns=FAR):
    """[(key, start, end, [rows])] of all windows that hold a row and end by `until_ns`."""
    every_ns = every_ns or width_ns
    found = {}
    for row in rows:
        end = row.ts_event_ns // every_ns * every_ns + every_ns
        while end - width_ns <= row.ts_event_ns:
            found.setdefault((end, getattr(row, key)), []).append(row)
            end += every_ns
    return [
        (of, end - width_ns, end, inside)
        for (end, of), inside in sorted(found.items())
        if end <= until_ns
    ]


def vwap(trades, width_ns, every_ns=None, until_ns=FAR):
    """Rows of Vwap, as tuples."""
    return [
        (
            end,
            width_ns,
            sum(t.price_ticks * t.qty_lots for t in inside),
            sum(t.qty_lots for t in inside),
            instrument,
            len(inside),
            0,
            0,
        )
        for instrument, _, end, inside in windows(trades, width_ns, every_ns, until_ns=until_ns)
    ]


def bars(trades, width_ns, until_ns=FAR):
    """Rows of Bar, as tuples."""
    return [
        (
            end,
            width_ns,
            inside[0].price_ticks,
            max(t.price_ticks for t in inside),
            min(t.price_ticks for t in inside),
            inside[-1].price_ticks,
            sum(t.qty_lots for t in inside),
            instrument,
            len(inside),
            0,
            0,
        )
        for instrument, _, end, inside in windows(trades, width_ns, until_ns=until_ns)
    ]


def quantile(values, share):
    """The value of rank floor(share * (n - 1)) of the sorted values."""
    return sorted(values)[int(share * float(len(values) - 1))]


def sketch_error(values):
    """How far off a sketch's quantile may be, as a share of the value: see sketches.py."""
    low, high = min(values), max(values)
    doublings = abs(log2_of(high) - log2_of(low))
    return max(doublings, 2**-32) / 511


def log2_of(value):
    """Doublings from zero to a value: one of them leads from 0 to 1. Below zero, below zero."""
    size = abs(value)
    return math.copysign(1 + math.log2(size), value) if size else 0


def twap(rows, start_ns, end_ns, before=None):
    """Of (ts, value) in order of time; `before` was in force at the start, if anything was."""
    points = ([(start_ns, before)] if before is not None else []) + rows
    if not points:
        return None
    spans = [b - a for (a, _), b in zip(points, [t for t, _ in points[1:]] + [end_ns])]
    if sum(spans) == 0:
        return float(points[-1][1])
    return float(sum(Fraction(v) * s for (_, v), s in zip(points, spans)) / sum(spans))


def ema(rows, half_life_ns):
    """Of all (ts, value) so far: half the weight a half-life."""
    if not rows:
        return None
    newest = max(t for t, _ in rows)
    weights = [2.0 ** -((newest - t) / half_life_ns) for t, _ in rows]
    return sum(w * v for w, (_, v) in zip(weights, rows)) / sum(weights)
