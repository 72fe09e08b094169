"""Patterns of abuse by definition, over the whole list of messages."""

CANCEL, MODIFY = ord("C"), ord("M")
OPEN, CLOSED = 1, 2
RULE_BURST_CANCEL, WARN = 1, 1
EVIDENCE = 16
WORD = 2**64


def burst_cancel(events, more_than=5, within_ns=10_000_000):
    """Rows of Alert, as tuples, in order. Event times do not go back."""
    alerts = []  # (ts, closes before opens, order among those, row)
    by_instrument = {}
    for number, e in enumerate(events):
        if e.action in (CANCEL, MODIFY):
            by_instrument.setdefault(e.instrument_id, []).append((number, e))
    for instrument, cancels in by_instrument.items():
        for first, last, opened_by, end_ns in episodes(cancels, more_than, within_ns):
            events_of = [e for _, e in cancels[first : last + 1]]
            number, opening = cancels[opened_by]
            opened = alert(events_of, opened_by - first + 1, opening.ts_event_ns, OPEN)
            alerts.append((opening.ts_event_ns, 1, number, opened))
            alerts.append((end_ns, 0, instrument, alert(events_of, len(events_of), end_ns, CLOSED)))
    return [row for *_, row in sorted(alerts, key=lambda a: a[:3])]


def episodes(cancels, more_than, within_ns):
    """(first, last, the one that opens, end) of each episode; indices into `cancels`."""
    times = [e.ts_event_ns for _, e in cancels]

    def is_over(i):
        return sum(times[i] - within_ns <= t <= times[i] for t in times[: i + 1]) > more_than

    i = 0
    while i < len(times):
        if not is_over(i):
            i += 1
            continue
        opened_by, end_ns = i, times[i] + within_ns
        i += 1
        while i < len(times) and times[i] < end_ns:
            if is_over(i):
                end_ns = times[i] + within_ns
            i += 1
        yield opened_by - more_than, i - 1, opened_by, end_ns


def alert(events, count, ts_ns, state):
    """The row after the first `count` events of an episode."""
    ids = [e.order_id % WORD for e in events[:count]][:EVIDENCE]
    sequences = [e.sequence for e in events[:count]][:EVIDENCE]
    padding = [0] * (EVIDENCE - len(ids))
    first = events[0]
    return (
        ts_ns,
        scatter(scatter(first.instrument_id * 65536 + RULE_BURST_CANCEL) ^ first.sequence),
        first.ts_event_ns,
        count,
        ids + padding,
        sequences + padding,
        first.instrument_id,
        RULE_BURST_CANCEL,
        state,
        WARN,
        len(ids),
        0,
    )


def scatter(word):
    """The finaliser of SplitMix64, on unsigned words."""
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % WORD
    word = (word ^ word >> 27) * 0x94D049BB133111EB % WORD
    return word ^ word >> 31
