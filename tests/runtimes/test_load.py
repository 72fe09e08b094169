"""A person's pipeline file, loaded by more than one process: the second finds machine code."""

import json
import os
import subprocess
import sys

import pytest

from onetape.sim.exchange import write_file

PIPELINE = """\
import onetape as ot
from onetape import market as mk


@ot.kernel
def spread_of(q):
    return q.ask_price_ticks - q.bid_price_ticks


@ot.record
class Wide:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    spread_ticks: ot.i64


@ot.operator(key="instrument_id")
class WideSpreads:
    is_wide: ot.i64 = 0

    def on_quote(self, q: mk.TopOfBook, *, above: ot.Ticks = 1_000) -> Wide | None:
        if q.bid_price_ticks == ot.UNSET or q.ask_price_ticks == ot.UNSET:
            return None
        spread = spread_of(q)
        was, self.is_wide = self.is_wide, int(spread > above)
        return Wide(q.ts_event_ns, q.instrument_id, spread) if self.is_wide > was else None


pipeline = ot.Pipeline(wide=WideSpreads(ot.source("itch").top_of_book(), above=2_000))
"""


@pytest.mark.slow
def test_a_pipeline_file_starts_from_the_code_that_an_earlier_process_left(tmp_path):
    write_file(tmp_path / "day.itch", seed=1, instruments=10, seconds=1.0, episodes=0)
    (tmp_path / "wide.py").write_text(PIPELINE)
    environment = os.environ | {"ONETAPE_CACHE": str(tmp_path / "cache")}
    answers = []
    for n in range(2):
        command = ["run", "wide.py", "--file", "day.itch", "--tape", f"tape{n}", "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "onetape.cli", *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answers.append(json.loads(done.stdout.splitlines()[-1]))

    assert answers[0]["digests"] == answers[1]["digests"]
    assert answers[0]["rows"]["wide"] > 0
