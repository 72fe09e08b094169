"""A lookup in a table that changes during the day: orders against the limits in force.

Limits are rows on the tape, like all else: a replay checks each order against what was in force
when the live run did. One is raised, one is taken back.
"""

import tempfile
from pathlib import Path

import pyarrow as pa

import onetape as ot
from onetape import c

LIMITS = """\
time,account,max
2026-01-05T00:00:00,1,500
2026-01-05T00:00:00,2,100
2026-01-05T15:00:00,2,1000
2026-01-05T16:00:00,1,0
"""
TIMES = ("14:30", "14:31", "15:30", "15:31", "16:30", "16:31")
ORDERS = pa.table(
    {
        "ts_event_ns": [f"2026-01-05T{time}:00" for time in TIMES],
        "account_id": [1, 2, 2, 2, 1, 3],
        "qty_lots": [400, 400, 400, 4000, 400, 10],
    }
)


@ot.record
class Limit:
    ts_event_ns: ot.i64
    max_lots: ot.i64
    account_id: ot.u32


@ot.record
class Order:
    ts_event_ns: ot.i64
    qty_lots: ot.i64
    account_id: ot.u32


names = {"ts_event_ns": "time", "account_id": "account", "max_lots": "max"}
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "limits.csv"
    file.write_text(LIMITS)
    changes = ot.read(file, Limit, columns=names, tz="UTC", name="limits")
    limits = ot.table(changes, by=c.account_id, deleted=c.max_lots == 0)
    orders = ot.read(ORDERS, Order, tz="UTC", name="orders")
    checked = orders.lookup(limits)
    over = checked.filter(c.qty_lots > c.max_lots)
    results = ot.run(ot.Pipeline(over=over, without_limit=checked.unknown))
for row in results.over.to_dicts():
    print(f"account {row['account_id']}: {row['qty_lots']:,} lots, {row['max_lots']:,} allowed")
print(f"accounts without a limit: {results.without_limit.to_arrow()['account_id'].to_pylist()}")
