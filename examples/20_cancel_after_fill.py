"""Joined by time: orders of which a part trades and the rest is withdrawn at once.

An interval join finds each pair of rows that are near enough; how="anti" tells those that found no
partner, as soon as it is sure. State is what may still find one: rows of the last 50 ms.
"""

import tempfile
from pathlib import Path

import onetape as ot
from onetape import c
from onetape import market as mk
from onetape.sim import write_file

events = ot.source("itch").events()
fills = events.filter(c.action == mk.FILL).select(c.instrument_id, c.order_id, c.qty_lots)
cancels = events.filter(c.action == mk.CANCEL).select(c.order_id, c.sequence, c.kind)

near = {"by": c.order_id, "within": (0, "50ms")}
pipeline = ot.Pipeline(
    fill=fills,
    withdrawn=fills.interval_join(cancels, **near),
    stayed=fills.interval_join(cancels, **near, how="anti"),
)

with tempfile.TemporaryDirectory() as folder:
    day = Path(folder) / "day.itch"
    write_file(day, seed=3, instruments=10, seconds=4.0, messages_per_s=4_000, episodes=0)
    results = ot.run(pipeline, file=day)

rows = results.withdrawn.to_dicts()
for row in rows[:5]:
    after_ms = row["apart_ns"] / 1_000_000
    print(
        f"{row['symbol']:5s} {row['qty_lots']:>4,} lots traded, a cancel {after_ms:6.3f} ms later"
    )
with_a_cancel = len({(row["order_id"], row["ts_left_ns"]) for row in rows})
assert with_a_cancel + len(results.stayed) == len(results.fill)
print(f"{with_a_cancel} of {len(results.fill):,} fills had a cancel within 50 ms")
