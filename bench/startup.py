"""From nothing to the first row: with no machine code on disk, and with it.

A fresh process imports onetape, makes the standard pipeline and runs a small simulated day until
the first row of an output. Cold has an empty kernel cache, warm the one that cold left. import_ms
and help_ms are processes that only import onetape, and that print `onetape --help`; python_ms is
one that does nothing, and numpy_ms one that imports NumPy: what the two cannot go below. All four
find byte code, as they do where onetape was installed by pip and has been imported once.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from onetape.sim.exchange import write_file

PROGRAM = """
import sys
from onetape.connect.itch_file import open_itch
from onetape.engine.frames import frames_of
from onetape.runtimes import batch
from onetape.runtimes.standard import pipeline

file = open_itch(sys.argv[1])
engine = batch.make_engine(pipeline, midnight_ns=file.midnight_ns)
name, rows, _ = next(batch.rows_of(engine, frames_of(file)))
print(name, len(rows))
"""


def run(rounds: int = 3) -> dict[str, Any]:
    """cold_s (once), else the best of several; answer_ok: every process printed the same."""
    with tempfile.TemporaryDirectory() as folder:
        day = Path(folder) / "day.itch"
        write_file(day, seed=1, instruments=20, seconds=2.0, episodes=0)
        environment = os.environ | {"ONETAPE_CACHE": str(Path(folder) / "cache")}
        said, seconds = set(), []
        for _ in range(1 + rounds):
            began_s = time.perf_counter()
            child = subprocess.run(
                [sys.executable, "-c", PROGRAM, str(day)],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            seconds.append(time.perf_counter() - began_s)
            said.add(child.stdout)
    return {
        "answer_ok": len(said) == 1,
        "cold_s": round(seconds[0], 2),
        "warm_s": round(min(seconds[1:]), 2),
        "python_ms": _best_ms(rounds, "-c", "pass"),
        "numpy_ms": _best_ms(rounds, "-c", "import numpy"),
        "import_ms": _best_ms(rounds, "-c", "import onetape"),
        "help_ms": _best_ms(rounds, "-m", "onetape.cli", "--help"),
    }


def _best_ms(rounds: int, *arguments: str) -> float:
    """The shortest of some runs of Python: what others on the machine add is not ours."""
    took_ms = []
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder}
        for _ in range(1 + 3 * rounds):
            began_s = time.perf_counter()
            subprocess.run(
                [sys.executable, *arguments],
                stdout=subprocess.DEVNULL,
                check=True,
                env=environment,
            )
            took_ms.append((time.perf_counter() - began_s) * 1000)
    return round(min(took_ms[1:]), 1)
