"""`onetape dev`: rounds as a file is saved, mistakes in place, and its text."""

import json

import pytest

from onetape import cli
from onetape.runtimes.dev import dev
from onetape.runtimes.dev.feed import open_input
from onetape.sim.exchange import write_file

PIPELINE = """\
import onetape as ot
from onetape import market as mk


@ot.record
class Big:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    qty_lots: ot.i64


@ot.operator(key="instrument_id")
class Bigs:
    seen: ot.i64 = 0

    def on_trade(self, e: mk.MarketEvent, *, above: ot.Lots = 100) -> Big | None:
        self.seen += 1
        return Big(e.ts_event_ns, e.instrument_id, e.qty_lots) if e.qty_lots > above else None


pipeline = ot.Pipeline(big=Bigs(mk.source("itch").events()))
"""


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    path = tmp_path_factory.mktemp("day") / "day.itch"
    write_file(path, seed=3, instruments=5, seconds=1.0, episodes=0)
    return path


def test_each_save_is_a_round_and_a_mistake_keeps_the_loop(day, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PIPELINE)
    shown = []
    rounds = dev.rounds(path, open_input(day), shown.append)

    first = next(rounds)
    path.write_text(PIPELINE.replace("= 100)", "= 1_000)"))
    second = next(rounds)
    path.write_text(PIPELINE.replace("e.qty_lots > above", "e.qty_lot > above"))
    third = next(rounds)
    path.write_text(PIPELINE.replace("Big(e.ts", "Bigger(e.ts"))
    fourth = next(rounds)
    path.write_text(PIPELINE)
    fifth = next(rounds)

    assert [made.number for made in (first, second, third, fourth, fifth)] == [1, 2, 3, 4, 5]
    assert first.outputs["big"].rows > second.outputs["big"].rows > 0
    assert all(row["qty_lots"] > 1_000 for row in second.outputs["big"].last)
    assert first.outputs["big"].types == {
        "ts_event_ns": "i64",
        "instrument_id": "u32",
        "qty_lots": "i64",
    }
    assert "mine.py:18: Bigs.on_trade: MarketEvent has no field 'qty_lot'" in third.error
    assert "did you mean 'qty_lots'?" in third.error
    assert fourth.error and "Traceback" not in fourth.error
    assert (fifth.error, fifth.outputs) == ("", first.outputs)
    assert shown[-1] is fifth


def test_once_prints_the_view_and_json_an_object(day, tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(PIPELINE)

    assert cli.main(["dev", str(path), "--file", str(day), "--once"]) == 0
    text = capsys.readouterr().out
    assert cli.main(["dev", str(path), "--file", str(day), "--once", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    path.write_text("pipeline = 1\n")
    assert cli.main(["dev", str(path), "--file", str(day), "--once"]) == 1
    mistake = capsys.readouterr().out

    rows = facts["outputs"]["big"]["rows"]
    assert f"big: {rows:,} Big" in text
    assert "ts_event_ns  instrument_id  qty_lots\n" in text
    assert facts["outputs"]["big"]["last"][-1]["qty_lots"] > 100
    assert "defines no `pipeline`" in mistake


def test_after_a_mistake_the_rows_of_the_last_good_round_stay():
    from rich.console import Console

    from onetape.runtimes.dev.view import picture

    good = dev.Round(1, outputs={"big": dev.Output("Big", {"ticks": "i64"}, 1, [{"ticks": 77}])})
    console = Console(width=100)
    with console.capture() as capture:
        console.print(picture(dev.Round(2, error="mine.py:3: wrong"), good, "mine.py"))

    assert "a mistake; below, what ran before" in capture.get()
    assert "mine.py:3: wrong" in capture.get()
    assert "77" in capture.get()
