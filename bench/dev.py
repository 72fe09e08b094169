"""`onetape dev`: from a save to the first row, over twenty edits of an operator.

The pipeline is the standard one with an operator of one's own behind its trades. Half of the edits
change a number, half a line of the body; one more adds an operator. The process has an empty kernel
cache when it starts. The last version is run by the batch runtime too: the rows must be as many.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PIPELINE = '''\
"""The standard pipeline, and jumps of the price between trades."""

import onetape as ot
from onetape import market as mk
from onetape.engine import merge
from onetape.surveillance import burst_cancel


@ot.record
class Jump:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    ticks: ot.i64


@ot.operator(key="instrument_id")
class Jumps:
    last_ticks: ot.i64 = ot.UNSET
    seen: ot.i64 = 0

    def on_trade(self, t: mk.Trade, *, at_least: ot.Ticks = 100) -> Jump | None:
        was, self.last_ticks = self.last_ticks, t.price_ticks
        self.seen += 1
        if was == ot.UNSET or abs(t.price_ticks - was) < at_least:
            return None
        return Jump(t.ts_event_ns, t.instrument_id, t.price_ticks - was)


feed = mk.source("itch")
trades = feed.trades()
pipeline = ot.Pipeline(
    top_of_book=feed.top_of_book(),
    trade=trades,
    vwap=merge(mk.vwap(trades, width="1s", every="100ms"), mk.vwap(trades, width="1ms")),
    bar=mk.bars(trades, width="1s"),
    alert=burst_cancel(feed.events(), more_than=5, within="10ms"),
    jump=Jumps(trades),
)
'''
LAST = "    jump=Jumps(trades),\n"
ANOTHER = (LAST, f"{LAST}    far=Jumps(trades, at_least=900),\n")


def edits() -> list[str]:
    """Twenty versions of the file, in turn a number and a line of the body."""
    versions = []
    for n in range(10):
        number = PIPELINE.replace("at_least: ot.Ticks = 100", f"at_least: ot.Ticks = {200 + n}")
        line = f"self.seen += 1 if t.qty_lots > {n} else 2"
        versions += [number, number.replace("self.seen += 1", line)]
    return versions


def run(count: int = 20) -> dict[str, Any]:
    """first_row_s_* from the save to the first row; compile_s_cold: of the first round."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.py"
        path.write_text(PIPELINE)
        environment = os.environ | {"ONETAPE_CACHE": str(Path(folder) / "cache")}
        child = subprocess.Popen(
            [sys.executable, "-m", "onetape.cli", "dev", str(path), "--json"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        try:
            rounds = [json.loads(child.stdout.readline())]
            for text in edits()[:count]:
                rounds.append(_saved(path, text, child.stdout))
            added = _saved(path, path.read_text().replace(*ANOTHER), child.stdout)
        finally:
            child.terminate()
            child.wait()
        mistakes = [made["error"] for made in [*rounds, added] if made["error"]]
        if mistakes:
            return {"answer_ok": False, "error": mistakes[0]}
        answer_ok = _rows(path, environment) == {
            name: output["rows"] for name, output in added["outputs"].items()
        }
    first = sorted(made["first_row_s"] for made in rounds[1:])
    return {
        "answer_ok": answer_ok,
        "edits": len(first),
        "first_row_s_median": round(statistics.median(first), 3),
        "first_row_s_max": round(first[-1], 3),
        "compile_s_median": round(statistics.median(m["compile_s"] for m in rounds[1:]), 3),
        "compile_s_cold": round(rounds[0]["compile_s"], 2),
        "cold_to_edit": round(rounds[0]["compile_s"] / statistics.median(first), 1),
        "first_row_s_operator_added": round(added["first_row_s"], 2),
    }


def _saved(path: Path, text: str, lines: Any) -> dict[str, Any]:
    path.write_text(text)
    return json.loads(lines.readline())  # type: ignore[no-any-return]


PROGRAM = """
import json, sys
from pathlib import Path
from onetape.runtimes import batch
from onetape.runtimes.dev.feed import open_input
from onetape.runtimes.load import load_pipeline

pipeline, source = load_pipeline(sys.argv[1]), open_input(None)
engine = batch.make_engine(pipeline, source.framing_of(pipeline), source.midnight_ns)
print(json.dumps(batch.run(engine, source.runs()).counts.rows))
"""


def _rows(path: Path, environment: dict[str, str]) -> dict[str, int]:
    """Rows of each output by the batch runtime, merged into one function as it is in earnest."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)  # type: ignore[no-any-return]
