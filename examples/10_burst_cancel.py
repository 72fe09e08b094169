"""Surveillance: bursts of cancels, each with the messages that are its evidence.

A simulated exchange plants quote stuffing whose places only its labels tell; more than five cancels
of an instrument within 10 ms are an episode. Its evidence are venue sequences: anybody who has the
file can look them up, as the end of this program does.
"""

import tempfile
from pathlib import Path

import onetape as ot
from onetape.sim import write_file
from onetape.surveillance import burst_cancel

events = ot.source("itch").events()
pipeline = ot.Pipeline(event=events, alert=burst_cancel(events, more_than=5, within="10ms"))

with tempfile.TemporaryDirectory() as folder:
    day = Path(folder) / "day.itch"
    planted = write_file(day, seed=7, instruments=50, seconds=4.0, episodes=3).labels
    results = ot.run(pipeline, file=day)

alerts = results.alert.to_dicts()
by_sequence = {int(event["sequence"]): event for event in results.event.rows}
for opened in (row for row in alerts if row["state"] == 1):
    closed = next(r for r in alerts if r["alert_id"] == opened["alert_id"] and r["state"] == 2)
    evidence = opened["evidence_sequence"][: opened["evidence_count"]]
    print(f"{opened['symbol']}: {closed['events_count']} cancels, alert {opened['alert_id']:016x}")
    for sequence in evidence:
        event = by_sequence[sequence]
        at = str(event["ts_event_ns"].astype("datetime64[ns]"))[11:26]
        print(f"   {at}  {chr(event['kind'])} of order {event['order_id']}, message {sequence}")

found = {(row["symbol"], row["state"]) for row in alerts}
assert found == {(episode.symbol, state) for episode in planted for state in (1, 2)}
print(f"all {len(planted)} planted bursts were found, and nothing else")
