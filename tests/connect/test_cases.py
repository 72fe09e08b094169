"""Cases: what is in them, when they are whole, and that each is written once."""

import json
import shutil
from types import SimpleNamespace

import pytest
from tests.naive import itch, market
from tests.naive import programs as naive

import onetape as ot
from onetape import cli
from onetape import market as mk
from onetape.connect.cases.files import account_name
from onetape.connect.cases.making import Maker
from onetape.engine.frames import packed
from onetape.records import DeclarationError
from onetape.runtimes.twin import Twin

AROUND_NS = 200_000_000


@ot.record
class Big:
    ts_event_ns: ot.i64
    order_id: ot.u64


@ot.operator
class BigOrders:
    def on_orders(self, o: mk.OwnOrderInBook) -> Big | None:
        if o.action == mk.ADD and o.qty_lots > 10 * o.level_median_lots:
            return Big(o.ts_event_ns, o.order_id)
        return None


def pipeline_of(*sinks):
    mine = ot.source("fix://dropcopy:9880").orders()
    stream = BigOrders(mine.with_book(ot.source("itch+udp://239.192.0.1:5000")))
    for sink in sinks:
        stream = stream >> sink
    return ot.Pipeline(big=stream)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """(folder, rows) of two seconds: three walls."""
    folder = tmp_path_factory.mktemp("cases") / "desk"
    sink = ot.cases(str(folder), evidence="±200ms")
    results = ot.run(pipeline_of(sink), simulate="2200ms", seed=1, quiet=True)
    return folder, results.big.rows


def cases_of(folder):
    found = [json.loads((path / "case.json").read_text()) for path in sorted(folder.iterdir())]
    return sorted(found, key=lambda case: case["row"]["ts_event_ns"])


def test_a_case_for_each_row_with_what_a_person_needs(desk):
    folder, rows = desk
    cases = cases_of(folder)

    assert [case["row"]["order_id"] for case in cases] == rows["order_id"].tolist()
    assert len(cases) >= 2
    case = cases[0]
    assert case["cause"]["order_id"] == case["row"]["order_id"]
    assert (case["cause"]["action"], case["cause"]["source"]) == ("A", "fix")
    assert (case["account"], case["symbol"]) == ("ACC0", "ZNLD")
    assert case["opened"].startswith("2026-01-05T14:30:01.0")
    assert case["case"].startswith(f"big-{case['row']['ts_event_ns']}-")


def arrivals():
    """(feed, bytes) as they arrive."""
    from onetape.sim.own_day import OwnDay

    day = OwnDay(seed=1, milliseconds=2200)
    return [(feed, payload) for feed, _, payload in day], day.midnight_ns


def public_events(found, midnight_ns):
    """(message number in arrival order, event)."""
    n = 0
    for place, (feed, data) in enumerate(found):
        while feed == "itch" and data:
            end, n = 2 + int.from_bytes(data[:2], "big"), n + 1
            yield place, SimpleNamespace(**itch.decode(data[2:end], n, 0, midnight_ns))
            data = data[end:]


def test_the_evidence_is_what_a_plain_look_at_the_input_finds(desk):
    import pyarrow.parquet as pq

    folder, _ = desk
    found, midnight_ns = arrivals()
    orders = naive.own_orders(found, midnight_ns)
    events = [e for _, e in public_events(found, midnight_ns)]
    symbols = {e.other_id: e.instrument_id for e in events if e.kind == ord("R")}
    for case in cases_of(folder):
        at_ns = case["row"]["ts_event_ns"]
        cause = next(o for o in orders if o.order_id == case["row"]["order_id"])
        near = lambda e, at_ns=at_ns: abs(e.ts_event_ns - at_ns) <= AROUND_NS  # noqa: E731
        own = [o.sequence for o in orders if near(o) and o.account_id == cause.account_id]
        instrument = symbols[cause.symbol_word]
        public = [e.sequence for e in events if near(e) and e.instrument_id == instrument]

        fix = pq.read_table(folder / case["case"] / "fix.parquet")
        itch_table = pq.read_table(folder / case["case"] / "itch.parquet")

        assert fix["sequence"].to_pylist() == own != []
        if case["is_complete"]:
            assert itch_table["sequence"].to_pylist() == public
        assert set(itch_table["symbol"].to_pylist()) <= {case["symbol"]}
        assert case["evidence"]["events"] == {"fix": len(own), "itch": itch_table.num_rows}


def test_the_book_is_that_right_after_the_cause(desk):
    folder, _ = desk
    found, midnight_ns = arrivals()
    for case in cases_of(folder):
        number = f"\x0134={case['cause']['sequence']}\x01".encode()
        place = next(n for n, (_, data) in enumerate(found) if number in data)
        book, symbols = market.Book(), {}
        for at, e in public_events(found, midnight_ns):
            if at < place:
                book.on_event(e)
                if e.kind == ord("R"):
                    symbols[e.other_id.to_bytes(8, "big").decode().strip()] = e.instrument_id
        instrument = symbols[case["symbol"]]
        for side, letter in (("bids", "B"), ("asks", "A")):
            levels = book.levels(instrument, ord(letter))[:10]
            assert [tuple(level.values()) for level in case["book"]["itch"][side]] == levels
            assert len(levels) > 3


def test_a_case_that_the_end_cuts_short_says_so_and_is_made_whole_by_a_longer_run(tmp_path):
    sink = ot.cases(str(tmp_path / "desk"), evidence="±200ms")
    ot.run(pipeline_of(sink), simulate="1100ms", seed=1, quiet=True)
    (short,) = cases_of(tmp_path / "desk")
    ot.run(pipeline_of(sink), simulate="1500ms", seed=1, quiet=True)
    (whole,) = cases_of(tmp_path / "desk")
    ot.run(pipeline_of(sink), simulate="1100ms", seed=1, quiet=True)

    assert not short["is_complete"]
    assert whole["is_complete"]
    assert short["case"] == whole["case"]
    assert whole["evidence"]["events"]["itch"] > short["evidence"]["events"]["itch"]
    assert cases_of(tmp_path / "desk") == [whole]
    assert [path.name for path in (tmp_path / "desk").iterdir()] == [whole["case"]]


def test_any_split_of_the_input_makes_the_same_cases():
    pipeline, made = pipeline_of(), []
    twin = Twin(pipeline, seed=1, milliseconds=1500)
    for size in (1 << 20, 1 << 14):  # of a run of frames
        maker = Maker(
            pipeline, "big", {}, twin.midnight_ns, before_ns=AROUND_NS, after_ns=AROUND_NS
        )
        cases = [c for run in packed(twin, buffer_bytes=size) for c in maker.feed(*run)]
        cases += maker.finish()
        made.append([(*told_of(c), c.row.tobytes()) for c in cases])

    assert made[0] == made[1] != []


def told_of(case):
    evidence = {name: rows.tobytes() for name, rows in case.evidence.items()}
    return case.books, case.is_complete, evidence


def test_a_folder_that_cannot_be_written_is_said_and_ends_nothing_else(tmp_path):
    (tmp_path / "desk").write_text("a file")
    rows = tmp_path / "rows.jsonl"
    sinks = ot.jsonl(str(rows)), ot.cases(str(tmp_path / "desk"))

    with pytest.raises(ot.OnetapeError, match="cannot make"):
        ot.run(pipeline_of(*sinks), simulate="1200ms", quiet=True)


MISTAKES = [
    (lambda: ot.cases(""), "expected a folder and a duration"),
    (lambda: ot.cases("desk", evidence="±5"), "is not a whole number and a unit"),
    (lambda: ot.cases("desk", evidence=5), "expected a folder and a duration"),
    (lambda: ot.cases("desk", around="5s"), "evidence"),
]


@pytest.mark.parametrize(("declare", "says"), MISTAKES)
def test_what_cannot_be_is_refused_where_it_is_written(declare, says):
    with pytest.raises(DeclarationError, match=says):
        declare()


def test_the_account_of_a_word():
    assert account_name(int.from_bytes(b"ACC1    ", "big")) == "ACC1"
    assert account_name(0xFEDCBA9876543210) == "#fedcba9876543210"


# --- the command ----------------------------------------------------------------------------------


def told(capsys, *argv):
    status = cli.main([str(word) for word in argv])
    out, err = capsys.readouterr()
    return status, out, err


def test_cases_are_listed_and_shown(desk, capsys, monkeypatch):
    folder, _ = desk
    cases = cases_of(folder)

    status, out, _ = told(capsys, "cases", folder)
    assert status == 0
    assert out.splitlines()[0].endswith(cases[0]["case"])
    assert f"{len(cases)} cases in" in out

    _, out, _ = told(capsys, "cases", folder, "--json")
    assert [json.loads(line) for line in out.splitlines()] == cases

    monkeypatch.chdir(folder.parent)
    _, out, _ = told(capsys, "cases", "show", cases[0]["case"])
    assert "book of itch right after it" in out
    assert f"desk/{cases[0]['case']}/fix.parquet" in out
    assert str(cases[0]["row"]["order_id"]) in out
    _, out, _ = told(capsys, "cases", "show", folder / cases[0]["case"], "--json")
    assert json.loads(out) == cases[0]


def test_cases_that_are_not_there_are_said(desk, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(desk[0], tmp_path / "desk")
    (tmp_path / "desk" / "broken").mkdir()
    (tmp_path / "desk" / "broken" / "case.json").write_text("{")

    for argv, says in (
        (["nowhere"], "no such queue: nowhere"),
        (["show", "big-1"], "none of the folders here has it"),
        (["desk", "desk"], "expected DIR, or show ID"),
        (["desk"], "is no case"),
    ):
        status, _, err = told(capsys, "cases", *argv)
        assert status == 1
        assert says in err
