"""DEBS 2022, both queries over a synthetic week in memory, one core; others beside it.

The loop over dicts is the reference: averages of the NumPy version and of onetape are compared with
its own by ==, those of Polars to a relative 1e-12 (its ewm_mean may add in another order), and the
crossings of all by ==. Times are the best of a few rounds, in processor time, which other work on
the machine does not change much; each begins with the rows in the form that the engine takes, and
ends with rows of answers in memory.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from examples.debs2022 import naive, queries
from examples.debs2022.run import is_same, rows_of, runs_of
from examples.debs2022.week import frequencies, week

import onetape as ot
from onetape.runtimes import batch

CLOSE_ENOUGH = 1e-12


def run(events: int = 10_000_000, rounds: int = 5, seed: int = 1) -> dict[str, Any]:
    """Events a second of each; answer_ok: all of them say the same."""
    model = frequencies()
    trades = week(events, [share for _, share in model], seed)
    columns = [trades[name].copy() for name in ("ts_event_ns", "instrument_id", "price_ticks")]
    lists = [column.tolist() for column in columns]
    python_s, expected = _best(lambda: naive.in_python(*lists), 1)
    numbers = [column.astype(np.int64) for column in columns]
    numpy_s, in_numpy = _best(lambda: naive.in_numpy(*numbers), min(rounds, 2))
    runs, pipeline = runs_of(trades), queries.pipeline_of(ot.source(queries.Last))
    engines = [batch.make_engine(pipeline) for _ in range(rounds)]
    onetape_s, found = _best(lambda: rows_of(engines.pop(), runs), rounds)
    figures = {
        "onetape": round(events / onetape_s),
        "numpy": round(events / numpy_s),
        "python": round(events / python_s),
    }
    answer_ok = is_same(found, expected) and _is_equal(in_numpy, expected, 0)
    polars_s, in_polars = _polars(numbers, rounds)
    if polars_s:
        figures["polars"] = round(events / polars_s)
        answer_ok = answer_ok and _is_equal(in_polars, expected, CLOSE_ENOUGH)
    return {
        "answer_ok": answer_ok,
        "events_per_s": figures,
        "events": events,
        "symbols": len(model),
        "q1_rows": len(expected[0]),
        "q2_rows": len(expected[1]),
    }


def _best(work: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    best_s, answer = float("inf"), None
    for _ in range(rounds):
        began_s = time.process_time()
        answer = work()
        best_s = min(best_s, time.process_time() - began_s)
    return best_s, answer


def _polars(columns: list[Any], rounds: int) -> tuple[float, Any]:
    """On one thread, as the others; (0, None) where it is not installed."""
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    try:
        import polars as pl
    except ImportError:
        return 0.0, None
    frame = pl.DataFrame(dict(zip(("ts_ns", "id", "price"), columns, strict=True)))
    best_s, (q1, q2) = _best(lambda: naive.in_polars(frame), min(rounds, 2))
    return best_s, (q1.to_numpy(structured=False).T, q2.to_numpy().T)


def _is_equal(found: tuple[Any, Any], expected: tuple[Any, Any], tolerance: float) -> bool:
    q1, q2 = (np.array(rows).T for rows in expected)
    emas = np.allclose(np.array(found[0][2:]), q1[2:], rtol=tolerance, atol=0)
    keys = all(np.array_equal(a, b) for a, b in zip(found[0][:2], q1[:2], strict=True))
    crossed = all(np.array_equal(a, b) for a, b in zip(found[1], q2, strict=True))
    return bool(emas and keys and crossed)
