"""The same two computations on onetape and beside it on csp, Bytewax, Pathway and Polars.

    vwap     tumbling 100 ms windows of trades, by instrument
    bursts   more than 5 cancels of one instrument within 10 ms, one row an episode

Each engine runs alone in a process of its own, on one thread, over input that it holds in memory in
the form it likes best; only the run is timed. Its answer is compared, row by row, with NumPy's over
the same events. Slow engines get fewer events. What is not installed is left out, and said.
"""

import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

# Millions of events: some seconds for all rounds.
EVENTS = {"onetape": 8.0, "polars": 8.0, "csp": 4.0, "bytewax": 1.0, "pathway": 1.0}
ONE_THREAD = {"POLARS_MAX_THREADS": "1", "PATHWAY_THREADS": "1"}


def run(
    share: float = 1.0, seconds: float = 2.0, rounds: int = 3, suite: str = "bench.peers"
) -> dict[str, Any]:
    """Events a second: the best of at least `rounds` and `seconds`, over `share` of EVENTS.

    Peers run in this interpreter, or in the one named by ONETAPE_PEERS_PYTHON, which needs NumPy.
    answer_ok: all answers equal NumPy's. *_times: onetape's figure over this engine's; both are
    null where the engine has no form of the computation. suite: the package that has them.
    """
    engines: dict[str, dict[str, Any]] = {}
    left_out = []
    works = import_module(f"{suite}.stream").ANSWERS
    for engine, millions in import_module(suite).EVENTS.items():
        events = round(millions * share * 1e6)
        parts = {work: _measure(suite, engine, work, events, seconds, rounds) for work in works}
        made = [part for part in parts.values() if part is not None]
        if not made:
            left_out.append(engine)
            continue
        row = {"version": made[0]["version"], "events": events}
        for work, part in parts.items():
            key, times = f"{work}_events_per_s", f"{work}_times"
            row[key] = row[times] = None
            if part is not None:
                row[key] = part["events_per_s"]
                row[times] = round(engines.get("onetape", row)[key] / row[key], 1)
        engines[engine] = row | {"answer_ok": all(part["answer_ok"] for part in made)}
    answer_ok = all(row["answer_ok"] for row in engines.values())
    why = f"{', '.join(left_out)}: not installed; pip install 'onetape[peers]'" if left_out else ""
    return {"answer_ok": answer_ok, "engines": engines, "left_out": why}


def _measure(suite: str, engine: str, work: str, events: int, seconds: float, rounds: int) -> Any:
    """What the engine's process says, and whether its rows are right; None: it has nothing."""
    peers_python = os.environ.get("ONETAPE_PEERS_PYTHON", sys.executable)
    python = sys.executable if engine == "onetape" else peers_python
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.npy"
        words = [python, "-m", "bench.peers.one", suite, engine, work, events, seconds, rounds, out]
        done = subprocess.run(
            list(map(str, words)),
            cwd=Path(__file__).parents[2],
            env=os.environ | ONE_THREAD,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{engine} failed at {work}: {done.stderr.strip()[-2000:]}")
        said = json.loads(done.stdout.splitlines()[-1])
        if said is None:
            return None
        said["answer_ok"] = np.array_equal(np.load(out), _answer(suite, work, events))
    return said


@cache
def _answer(suite: str, work: str, events: int) -> Any:
    make, answer = import_module(f"{suite}.stream").ANSWERS[work]
    return answer(make(events))
