"""Replay a day of ITCH: books, trades, VWAP, bars, alerts, and the digests that name this answer.

    python examples/01_replay_a_day.py [01302019.NASDAQ_ITCH50.gz]

Without a file a simulated exchange writes four seconds of trading.
"""

import sys
import tempfile
from pathlib import Path

import onetape as ot
from onetape.runtimes.results import Results
from onetape.runtimes.standard import market_watch
from onetape.sim import write_file


def replay(day: Path) -> Results:
    """Run the standard pipeline over the file, and tell what came out."""
    results = ot.run(market_watch(), file=day)
    print(f"{results.counts.events:,} messages in {results.elapsed_s:.2f} s")
    for output, digest in results.digests.items():
        print(f"  {output:12s} {len(results[output]):>8,} rows   digest {digest}")
    return results


with tempfile.TemporaryDirectory() as folder:
    if len(sys.argv) > 1:
        replay(Path(sys.argv[1]))
    else:
        day = Path(folder) / "01052026.NASDAQ_ITCH50"
        written = write_file(day, seed=7, instruments=50, seconds=4.0, episodes=3)
        first = replay(day)
        print(first.bar.with_prices())
        assert ot.run(market_watch(), file=day).digests == first.digests
        print(f"all of {written.messages:,} messages again: the same digests")
