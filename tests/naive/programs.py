"""The programs of examples/programs by hand: loops over plain rows, no engine."""

from decimal import Decimal
from types import SimpleNamespace

from tests.naive import fix, itch, own_book


def lead_lag(events, *, grid="0.01", edge=3, max_age_ns=5_000_000):
    """Edges and the number of rows off the grid, of ("lead" | "lag", row) as they arrive."""
    units = Decimal("0.00000001")
    mid, seen_ns, edges, refused = {}, {}, [], 0
    for kind, row in events:
        prices = (
            (row.bid_price_ticks, row.ask_price_ticks) if kind == "lead" else (row.price_ticks,)
        )
        steps = [Decimal(price) * units / Decimal(grid) for price in prices]
        if any(step != int(step) for step in steps):
            refused += 1
            continue
        if kind == "lead":
            mid[row.asset_id] = (int(steps[0]) + int(steps[1])) // 2
            seen_ns[row.asset_id] = row.ts_event_ns
        elif row.asset_id in mid and row.ts_event_ns - seen_ns[row.asset_id] <= max_age_ns:
            away = mid[row.asset_id] - int(steps[0])
            if abs(away) >= edge:
                edges.append((row.ts_event_ns, row.asset_id, away))
    return edges, refused


def vwap_alert(trades, *, width_ns=10**9, every_ns=10**8, max_age_ns=2 * 10**8, once_ns=5 * 10**9):
    """(vwap rows, alerts) of trades (ts_ns, instrument, price, lots) in time order."""
    rows, alerts, last, told, before_ns = [], [], {}, {}, 0
    for ts_ns, instrument, price, _ in [*trades, (trades[-1][0] + width_ns, None, 0, 0)]:
        for end in range((before_ns // every_ns + 1) * every_ns, ts_ns + 1, every_ns):
            inside = [t for t in trades if end - width_ns <= t[0] < end]
            for key in sorted({t[1] for t in inside}):
                own = [t for t in inside if t[1] == key]
                notional, lots = sum(t[2] * t[3] for t in own), sum(t[3] for t in own)
                last[key] = (end, (2 * notional + lots) // (2 * lots), lots)
                rows.append((end, key, *last[key][1:]))
        before_ns = ts_ns
        at_ns, average, lots = last.get(instrument, (-(10**18), 0, 0))
        is_far = lots > 1_000 and abs(price - average) * 10_000 > 50 * average
        if ts_ns - at_ns <= max_age_ns and is_far:
            if ts_ns - told.get(instrument, -(10**18)) >= once_ns:
                told[instrument] = ts_ns
                alerts.append((ts_ns, instrument))
    return rows, alerts


def own_orders(arrivals, midnight_ns):
    """Own orders in their book, of (feed, bytes) as they arrive: SimpleNamespaces, in order."""
    session, joined, sequence, made = fix.Session(), own_book.WithBook(), 0, []
    for feed, data in arrivals:
        while feed == "itch" and data:
            end = 2 + int.from_bytes(data[:2], "big")
            sequence += 1
            joined.on_event(SimpleNamespace(**itch.decode(data[2:end], sequence, 0, midnight_ns)))
            data = data[end:]
        if feed == "fix":
            before = len(session.orders)
            session.read(data)
            for order in session.orders[before:]:
                own = SimpleNamespace(**order)
                joined.on_order(own)
                own.level_median_lots = joined.rows[-1][1]
                made.append(own)
    return made


def spoofing(orders, *, within_ns=2 * 10**9, times=10):
    """(pulled_ns, wall, fill) of own orders as they arrive."""
    found, walls = [], {}  # by account: [wall, the first fill on the other side or None]
    for e in orders:
        mine = walls.setdefault(e.account_id, [])
        mine[:] = [pair for pair in mine if e.ts_event_ns - pair[0].ts_event_ns < within_ns]
        for pair in list(mine):
            wall, fill = pair
            if fill is None and chr(e.action) == "F" and e.side != wall.side:
                pair[1] = e
            elif fill is not None and chr(e.action) == "C" and e.order_id == wall.order_id:
                found.append((e.ts_event_ns, wall.order_id, fill.order_id))
                mine.remove(pair)
        if chr(e.action) == "A" and e.qty_lots > times * e.level_median_lots:
            mine.append([e, None])
    return found
