"""`onetape new NAME`: a folder with a pipeline that runs, its test, and what to type next."""

import argparse
import keyword
import re
from pathlib import Path
from typing import Any

from onetape.records import OperatorError

DESCRIPTION = """\
Make the folder NAME with a pipeline to change: columns and one operator of your own, a test that
passes, and a README that says how to run them. Nothing outside of the folder is touched.
"""

PIPELINE = '''\
"""A pipeline: trades far from the last second's average price, and jumps of the price."""

import onetape as ot
from onetape import c
from onetape import market as mk


@ot.record
class Jump:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    ticks: ot.i64


@ot.operator(key="instrument_id")
class Jumps:
    """Annotated attributes are the state of one instrument; what stands after * is a setting."""

    last_ticks: ot.i64 = ot.UNSET

    def on_trade(self, t: mk.Trade, *, at_least: ot.Ticks = 500) -> Jump | None:
        was, self.last_ticks = self.last_ticks, t.price_ticks
        if was == ot.UNSET or abs(t.price_ticks - was) < at_least:
            return None
        return Jump(t.ts_event_ns, t.instrument_id, t.price_ticks - was)


trades = ot.source("itch").trades()
vwap = trades.window("1s", every="100ms", by=c.instrument_id).agg(
    vwap=mk.vwap(), lots=c.qty_lots.sum()
)
far = (
    trades.asof_join(vwap, by=c.instrument_id, max_age="200ms")
    .filter((c.price_ticks - c.vwap).abs() * 10_000 > 20 * c.vwap)
    .alert("20 bp from VWAP", severity="warn", once_per="5s")
)
pipeline = ot.Pipeline(vwap=vwap, far=far, jump=Jumps(trades, at_least=500))
'''

TEST = '''\
"""The operator alone, in plain Python; and the whole pipeline over a simulated day."""

from onetape import market as mk
from onetape import testing

from pipeline import Jump, Jumps, pipeline


def trade(ts_event_ns, price_ticks):
    return testing.row(mk.Trade, ts_event_ns=ts_event_ns, price_ticks=price_ticks, instrument_id=7)


def test_a_jump_is_seen_and_a_small_step_is_not():
    jumps = Jumps.source()  # the class as written: print and breakpoint() work in it

    assert jumps.on_trade(trade(1, 10_000), at_least=500) is None
    assert jumps.on_trade(trade(2, 10_499), at_least=500) is None
    assert jumps.on_trade(trade(3, 9_999), at_least=500) == Jump(3, 7, -500)


def test_over_a_simulated_day():
    t = testing.Run(pipeline)  # compiles the first time, some seconds

    t.feed(testing.day(seed=3, instruments=5, seconds=1)).end()

    assert len(t.rows("jump")) > 0
    assert all(abs(row.ticks) >= 500 for row in t.rows("jump"))
    assert len(t.rows("vwap")) > len(t.rows("far")) > 0
    testing.check(t)  # any split, twice, in plain Python: the same rows; nothing overflows
'''

README = """\
# {name}

`pipeline.py` is the pipeline, `test_pipeline.py` its test; the first run of either compiles.

    onetape sim --out day.itch
    onetape run pipeline.py --file day.itch --tape tape/ --out out/
    pytest
"""
NEXT = """\
{folder}/ has a pipeline and its test. Now type, in `cd {folder}`:

  onetape sim --out day.itch
  onetape run pipeline.py --file day.itch --tape tape/ --out out/
  pytest

(pytest comes with: pip install "onetape[testing]")
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "new",
        help="make a folder with a pipeline and its test",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  onetape new desk_alerts",
    )
    parser.add_argument("name", metavar="NAME", help="of the new folder; letters, digits, _")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    folder = Path(args.name)
    _check_name(args.name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OperatorError(f"{folder} is there already and not empty; choose another name")
    folder.mkdir(exist_ok=True)
    texts = {
        "pipeline.py": PIPELINE,
        "test_pipeline.py": TEST,
        "README.md": README.format(name=args.name),
    }
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")
    print(NEXT.format(folder=folder), end="")
    return 0


def _check_name(name: str) -> None:
    if name.isidentifier() and not keyword.iskeyword(name):
        return
    likely = re.sub(r"\W+", "_", name).strip("_")
    if not likely.isidentifier() or keyword.iskeyword(likely):
        likely = f"my_{likely}".rstrip("_") if likely else "my_pipeline"
    raise OperatorError(
        f"NAME was {name!r}; expected a Python name (letters, digits, _): onetape new {likely}"
    )
