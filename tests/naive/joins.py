"""Joins as one would say them: all rows in lists, each looked at for each.

Rows are records with `ts_event_ns` and `key`; what is late has been left out before.
"""


def pairs(left, right, least_ns, most_ns):
    """All (left, right) of one key of which right is so much later."""
    return [
        (a, b)
        for a in left
        for b in right
        if a.key == b.key and least_ns <= b.ts_event_ns - a.ts_event_ns <= most_ns
    ]


def alone(left, right, least_ns, most_ns):
    """The left rows that have no partner."""
    met = [id(a) for a, _ in pairs(left, right, least_ns, most_ns)]
    return [a for a in left if id(a) not in met]


def in_time(rows, lateness_ns):
    """The rows of one source that are not late, from what came before each of them."""
    newest, kept = 0, []
    for row in rows:
        if row.ts_event_ns >= newest - lateness_ns:
            kept.append(row)
        newest = max(newest, row.ts_event_ns)
    return kept


def in_order(*sources):
    """(source, row) of all sources' rows by (ts_event_ns, source, place in the source)."""
    found = [
        (row.ts_event_ns, number, place, row)
        for number, rows in enumerate(sources)
        for place, row in enumerate(rows)
    ]
    return [(number, row) for _, number, _, row in sorted(found, key=lambda f: f[:3])]


def versions(changes, row, is_deleted):
    """The entry of a row's key after these changes, in order; None where there is none."""
    entry = None
    for change in changes:
        if change.key == row.key:
            entry = None if is_deleted(change) else change
    return entry


def in_force(changes, row, is_deleted, kept):
    """As `versions`, at the row's time, where only the newest `kept` of a key are known: those that
    came with a time before all of as many others are gone."""
    known = []
    for change in changes:
        if change.key == row.key:
            known = sorted([*known, change], key=lambda c: c.ts_event_ns)[-kept:]
    found = [change for change in known if change.ts_event_ns <= row.ts_event_ns]
    return None if not found or is_deleted(found[-1]) else found[-1]
