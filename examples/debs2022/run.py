"""Queries 1 and 2 of the DEBS 2022 Grand Challenge, over a synthetic week or the challenge's files.

    python examples/debs2022/run.py --events 1000000 --lookup S0001
    python examples/debs2022/run.py --data FOLDER --lookup BN.FR

The answers are compared with those of a loop over dicts: equal to the last bit, because both do the
same additions and multiplications of doubles in the same order and neither fuses two into one.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.debs2022 import naive, queries
from examples.debs2022.ticks import lasts
from examples.debs2022.week import TICKS, frequencies, week

import onetape as ot
from onetape.engine.frames import frames_of
from onetape.runtimes import batch

BLOCK = 4096
Rows = dict[str, Any]


def main() -> int:
    args = _arguments()
    if args.data is None:
        model = frequencies(args.frequencies)
        trades = week(args.events, [share for _, share in model], args.seed)
        symbols: dict[int, str] = {k: symbol for k, (symbol, _) in enumerate(model, 1)}
        found, elapsed_s = answers(trades)
    else:
        source = lasts(args.data)
        results = ot.run(queries.pipeline_of(source), quiet=True)
        events = ot.run(ot.Pipeline(lasts=source), quiet=True).lasts
        trades, elapsed_s = events.rows, results.elapsed_s
        symbols = events.symbols
        found = {name: results[name].rows for name in results}
    same = is_same(found, naive.in_python(*_lists(trades)))
    told = {
        "events": len(trades),
        "symbols": len(set(trades["instrument_id"].tolist())),
        "events_per_s": round(len(trades) / elapsed_s),
        "q1_rows": len(found["q1"]),
        "q2_rows": len(found["q2"]),
        "equal_to_the_loop": same,
        "lookup": {symbol: look_up(found, symbols, symbol) for symbol in args.lookup},
    }
    print(json.dumps(told) if args.json else _text(told))
    return 0 if same else 1


def answers(trades: Any) -> tuple[Rows, float]:
    """The rows of both queries over blocks of Last, and the seconds that took."""
    engine = batch.make_engine(queries.pipeline_of(ot.source(queries.Last)))
    runs = runs_of(trades)
    began_s = time.perf_counter()
    found = rows_of(engine, runs)
    return found, time.perf_counter() - began_s


def runs_of(trades: Any) -> list[Any]:
    payloads = ((None, trades[i : i + BLOCK].tobytes()) for i in range(0, len(trades), BLOCK))
    return [(buffer.copy(), begin, end) for buffer, begin, end in frames_of(payloads)]


def rows_of(engine: Any, runs: list[Any]) -> Rows:
    import numpy as np

    kept: dict[str, list[Any]] = {"q1": [], "q2": []}
    for name, rows, _ in batch.rows_of(engine, runs):
        kept[name].append(rows.copy())
    empty = {"q1": np.zeros(0, queries.Averages.dtype), "q2": np.zeros(0, queries.Crossings.dtype)}
    return {name: np.concatenate([empty[name], *blocks]) for name, blocks in kept.items()}


def is_same(found: Rows, expected: tuple[Any, Any]) -> bool:
    """Every row of both queries, floats by ==: no tolerance."""
    q1, q2 = found["q1"], found["q2"]
    names = ("ts_event_ns", "instrument_id", "ema_38_ticks", "ema_100_ticks")
    ours = list(zip(*(q1[name].tolist() for name in names), strict=True))
    crossed = (q2["ts_event_ns"].tolist(), q2["instrument_id"].tolist(), q2["signals"][:, 0])
    return ours == expected[0] and list(zip(*crossed, strict=True)) == expected[1]


def look_up(found: Rows, symbols: Any, symbol: str) -> dict[str, Any] | None:
    """What the challenge asks for of a symbol: its newest averages and its last three crossings."""
    ids = [number for number, name in symbols.items() if name == symbol]
    q1, q2 = (rows[rows["instrument_id"] == (ids or [0])[0]] for rows in found.values())
    if not len(q1):
        return None
    crossings = []
    for row in q2[-1:]:
        for ts_ns, signal in zip(row["crossed_ts_ns"], row["signals"], strict=True):
            if ts_ns:
                moment = str(ts_ns.astype("datetime64[ns]").astype("datetime64[ms]"))
                kind = {"E": "Equity", "I": "Index"}[chr(row["kind"])]
                crossings.append([moment, kind, "Buy" if signal == queries.BUY else "Sell"])
    emas = {name: float(q1[-1][f"{name}_ticks"] / TICKS) for name in ("ema_38", "ema_100")}
    return emas | {"crossings": crossings}


def _lists(trades: Any) -> list[list[int]]:
    return [trades[name].tolist() for name in ("ts_event_ns", "instrument_id", "price_ticks")]


def _text(told: dict[str, Any]) -> str:
    lines = [
        f"{told['events']:,} events of {told['symbols']:,} symbols, "
        f"{told['events_per_s']:,} a second",
        f"q1: {told['q1_rows']:,} averages, q2: {told['q2_rows']:,} crossings; "
        + ("equal to the loop's" if told["equal_to_the_loop"] else "NOT what the loop says"),
    ]
    for symbol, found in told["lookup"].items():
        if found is None:
            lines.append(f"{symbol}: no window of it has closed")
            continue
        lines.append(f"{symbol}: ema_38 {found['ema_38']:.4f}, ema_100 {found['ema_100']:.4f}")
        lines += [f"  {moment} UTC {kind} {signal}" for moment, kind, signal in found["crossings"]]
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="the challenge's CSV files, in place of a week"
    )
    parser.add_argument("--events", type=int, default=1_000_000, metavar="N", help="of the week")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the week")
    parser.add_argument(
        "--frequencies",
        type=Path,
        metavar="FILE",
        help='lines "count symbol": how often each trades (default: a model of the real counts)',
    )
    parser.add_argument(
        "--lookup", action="append", default=[], metavar="SYMBOL", help="show its newest answers"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
