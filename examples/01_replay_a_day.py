"""Replay a day of ITCH: books, VWAP and alerts, and the digests that name this answer.

    python examples/01_replay_a_day.py [01302019.NASDAQ_ITCH50.gz]

Without a file a simulated exchange writes four seconds of trading, with three bursts of quote
stuffing that only its labels tell of.
"""

import sys
import tempfile
from pathlib import Path

from onetape.codecs.feed import symbol_of
from onetape.connect.itch_file import open_itch
from onetape.engine.frames import frames_of
from onetape.records.market import OPEN
from onetape.runtimes import batch
from onetape.runtimes.standard import market_watch
from onetape.sim import write_file


def replay(path: Path) -> list[int]:
    """Run the standard pipeline over the file; the instruments with an alert, in order."""
    file = open_itch(path, chunk_bytes=1 << 18)
    engine = batch.make_engine(market_watch(), {"itch": file.framing}, file.midnight_ns)
    alerts = []

    def take(output, rows, origins):
        if output == "alert":  # rows are views into a ring: copy what is to be kept
            alerts.extend(rows[rows["state"] == OPEN].copy())

    result = batch.run(engine, frames_of(file), take)
    feed = engine.feed_state("itch")
    print(f"{path.name}: {int(feed['messages']):,} messages in {result.elapsed_s:.2f} s")
    for output, count in result.counts.rows.items():
        print(f"  {output:12s} {count:>9,} rows   digest {result.digests[output]}")
    for alert in alerts[:10]:
        at_ms = (int(alert["ts_event_ns"]) - file.midnight_ns) / 1e6
        symbol = symbol_of(int(feed["symbols"][alert["instrument_id"]]))
        print(f"  burst cancel  {symbol:8s} {at_ms:,.3f} ms after midnight")
    return [int(alert["instrument_id"]) for alert in alerts]


if len(sys.argv) > 1:
    replay(Path(sys.argv[1]))
else:
    with tempfile.TemporaryDirectory() as folder:
        day = Path(folder) / "day.itch"
        written = write_file(day, seed=7, instruments=50, seconds=4.0, episodes=3)
        found = replay(day)
        planted = [episode.instrument_id for episode in written.labels]
        assert sorted(found) == sorted(planted), (found, planted)
        print(f"all {len(planted)} planted bursts were found, and nothing else")
