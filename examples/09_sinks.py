"""Where rows go: a Parquet file, JSON lines and a function of your own, out of one pipeline.

`ot.csv`, `ot.stdout`, `ot.udp`, `ot.tcp` and `ot.webhook` are used the same way; a stream may have
several. None of them is on the hot path but `ot.udp`, which is meant to be.
"""

import json
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

import onetape as ot
from onetape import market as mk
from onetape.sim import write_file
from onetape.surveillance import burst_cancel

told: list[int] = []


def tell(alert: mk.Alert) -> None:
    """A row is an instance of its record: here one would page somebody."""
    if alert.state == mk.OPEN:
        told.append(alert.alert_id)
        print(f"alert {alert.alert_id:016x} on instrument {alert.instrument_id}")


with tempfile.TemporaryDirectory() as folder:
    out = Path(folder)
    write_file(out / "day.itch", seed=7, instruments=20, seconds=2.0, episodes=2)
    feed = ot.source(f"itch:{out / 'day.itch'}")
    alerts = burst_cancel(feed.events())
    pipeline = ot.Pipeline(
        bar=mk.bars(feed.trades(), width="1s") >> ot.parquet(f"{out}/rows"),
        alert=alerts >> ot.callback(tell) >> ot.jsonl(f"{out}/alerts.jsonl"),
    )
    results = ot.run(pipeline)

    bars = pq.read_table(out / "rows" / "bar.parquet")
    lines = [json.loads(line) for line in (out / "alerts.jsonl").read_text().splitlines()]
    print(f"bar.parquet: {bars.num_rows} rows, columns {', '.join(bars.column_names[:5])} ...")
    print(f"alerts.jsonl: {len(lines)} lines; {lines[0]['symbol']}, rule {lines[0]['rule']}")
    assert bars.num_rows == len(results.bar) and len(lines) == len(results.alert)
    assert told == results.alert.rows["alert_id"][results.alert.rows["state"] == mk.OPEN].tolist()
