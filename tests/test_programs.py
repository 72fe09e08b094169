"""The programs of examples/programs: they run as they stand, and say what a plain loop says."""

import json
import os
import random
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from tests.naive import programs as naive

import onetape as ot
from onetape import cli, testing
from onetape.codecs.itch50.message import MESSAGE_CLASSES
from onetape.codecs.itch50.spec import ALPHA, BY_LETTER
from onetape.compiled import mode
from onetape.market import TopOfBook
from onetape.runtimes.load import load_pipeline
from onetape.runtimes.run import twin as run_twin
from onetape.sim.crypto import messages
from onetape.sim.own_day import OwnDay
from onetape.testing.engines import records_of

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ROOT / "examples" / "programs"
LEAD_LAG, VWAP_ALERT = PROGRAMS / "lead_lag.py", PROGRAMS / "vwap_alert.py"
SPOOFING = PROGRAMS / "spoofing.py"


def arrivals(pipeline, *, seed, milliseconds):
    """(name of the source, row) of what the twin of the pipeline's venues sends, as it arrives."""
    channels = [source.channel for source in pipeline.sources]
    for each in messages(channels, seed=seed, milliseconds=milliseconds):
        of = channels[each.channel].of
        (row,) = records_of(of, each.datagram.view(of.dtype))
        yield pipeline.sources[each.channel].name, row


def by_hand(pipeline, *, seed=1, milliseconds=3000, **options):
    events = arrivals(pipeline, seed=seed, milliseconds=milliseconds)
    kinds = (("lead" if isinstance(row, TopOfBook) else "lag", row) for _, row in events)
    return naive.lead_lag(kinds, **options)


def edges_of(results):
    return [tuple(row) for row in results.edge.rows.tolist()]


@pytest.mark.parametrize("seed", [1, 2])
def test_two_venues_say_what_a_plain_loop_says(seed):
    pipeline = load_pipeline(str(LEAD_LAG))
    expected, refused = by_hand(pipeline, seed=seed)

    results = ot.run(pipeline, simulate="3s", seed=seed, quiet=True)

    assert edges_of(results) == expected
    assert len(expected) > 50
    assert refused == 0
    assert results.refused == {}


def test_in_plain_python_too():
    pipeline = load_pipeline(str(LEAD_LAG))
    with mode.running("interpreted"):
        results = ot.run(pipeline, simulate="300ms", quiet=True)

    assert edges_of(results) == by_hand(pipeline, milliseconds=300)[0] != []


def test_other_settings_are_another_answer():
    pipeline = load_pipeline(str(LEAD_LAG))
    settings = {"LeadLag.edge": 10, "LeadLag.max_age": "1ms"}

    results = ot.run(pipeline, simulate="3s", settings=settings, quiet=True)

    expected, _ = by_hand(pipeline, edge=10, max_age_ns=1_000_000)
    assert edges_of(results) == expected != by_hand(pipeline)[0]


def test_a_price_that_is_not_on_the_grid_is_refused_and_counted():
    """binance quotes whole cents, of which one in ten is a whole dime; kraken quotes dimes."""
    text = LEAD_LAG.read_text(encoding="utf-8").replace('on_grid("0.01")', 'on_grid("0.1")')
    names = {}
    exec(compile(text, "coarse.py", "exec"), names)

    results = ot.run(names["pipeline"], simulate="3s", quiet=True)

    expected, refused = by_hand(names["pipeline"], grid="0.1")
    assert results.refused == {"on_grid": {"price not on the grid": refused}}
    assert refused > 100
    assert edges_of(results) == expected


def test_two_venues_in_every_way_of_running():
    pipeline = load_pipeline(str(LEAD_LAG))
    t = testing.Run(pipeline)
    for name, row in arrivals(pipeline, seed=3, milliseconds=400):
        t.feed(**{name: [row]})
    t.end()

    testing.check(t)

    assert [tuple(edge) for edge in t.rows("edge")] == by_hand(pipeline, seed=3, milliseconds=400)[
        0
    ]


def run_json(capsys, *argv):
    assert cli.main([str(a) for a in argv]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_two_venues_on_a_tape(tmp_path, capsys):
    simulate = ["run", LEAD_LAG, "--simulate", "--seed", 2, "--json"]
    fast = [*simulate, "--seconds", 1, "--speed", 0, "--tape", tmp_path / "tape"]
    facts = run_json(capsys, *fast)
    paced = run_json(capsys, *simulate, "--seconds", 0.2, "--speed", 2)
    in_memory = ot.run(load_pipeline(str(LEAD_LAG)), simulate="1s", seed=2, quiet=True)

    assert facts["digests"] == in_memory.digests
    assert facts["rows"]["edge"] > paced["rows"]["edge"] > 0
    assert 0 < facts["sent"] + facts["unsent"] <= facts["rows"]["edge"]
    verified = run_json(capsys, "verify", LEAD_LAG, tmp_path / "tape", "--json")
    assert verified["equal"]


def test_a_simulated_run_goes_on_and_ends_as_one_that_was_not_interrupted(
    tmp_path, capsys, monkeypatch
):
    def pressed(items, *_):
        yield from islice(items, 300)
        raise KeyboardInterrupt

    run = ["run", LEAD_LAG, "--simulate", "--json", "--tape", tmp_path / "tape"]
    with monkeypatch.context() as patched:
        patched.setattr(run_twin, "paced", pressed)
        first = run_json(capsys, *run)
    again = run_json(capsys, *run, "--resume", "--seconds", 1, "--speed", 0)

    whole = ot.run(load_pipeline(str(LEAD_LAG)), simulate="1s", quiet=True)
    assert first["messages"] == 300
    assert again["digests"] == whole.digests != first["digests"]
    assert again["state_digest"] == whole.state_digest
    assert cli.main([str(a) for a in [*run, "--resume", "--seed", 5]]) == 1
    assert "go on with the same input" in capsys.readouterr().err


MISTAKES = [
    ([], "connections to binance are not built yet; run on the simulated twin of its venue: oneta"),
    (["--simulate", "--speed", "0"], "--speed 0 without an end; say how much is simulated"),
    (["--simulate", "--seconds", "0"], "simulate was 0 ns; expected a millisecond or more"),
    (["--simulate", "--wait", "spin"], "--wait is of a live feed"),
    (["--simulate", "--set", "LeadLag.egde=5"], "no setting 'egde' (did you mean 'edge'?)"),
]


@pytest.mark.parametrize(("options", "says"), MISTAKES)
def test_a_run_that_cannot_be_says_what_can(options, says, tmp_path, capsys):
    argv = ["run", str(LEAD_LAG), "--tape", str(tmp_path / "tape"), *options]

    assert cli.main(argv) == 1
    assert says in capsys.readouterr().err


def test_a_source_without_a_twin_says_so(tmp_path, capsys):
    argv = ["run", str(VWAP_ALERT), "--simulate", "--seconds", "1", "--tape", str(tmp_path / "t")]

    assert cli.main(argv) == 1
    assert "source 'itch' has no simulated twin" in capsys.readouterr().err


def itch(letter, locate, ts_ns, **fields):
    """A message of ITCH 5.0, what is not named blank."""
    blank = {
        f.name: b" " * f.size_bytes if f.kind == ALPHA else 0 for f in BY_LETTER[letter].fields
    }
    said = {"message_type": letter.encode(), "stock_locate": locate, "timestamp_ns": ts_ns}
    return MESSAGE_CLASSES[letter](**blank | said | fields)


def test_the_vwap_alert_says_what_a_plain_loop_says():
    """Trades of three symbols, two of them wanted; now and then a price far away."""
    chance, symbols = random.Random(4), {1: b"AAPL    ", 2: b"MSFT    ", 3: b"ZZZZ    "}
    sent = [itch("R", locate, 1, stock=symbol) for locate, symbol in symbols.items()]
    trades, ts_ns = [], 10**9
    for n in range(1, 1500):
        ts_ns += chance.randrange(1, 15_000_001)
        locate, far = chance.choice([1, 2, 3]), chance.random() < 0.01
        price = 1_000_000 + chance.randrange(-500, 500) + (20_000 if far else 0)
        qty = chance.randrange(1, 200)
        trades.append((ts_ns, locate, price, qty))
        said = {"stock": symbols[locate], "price": price, "shares": qty, "match_number": n}
        sent.append(itch("P", locate, ts_ns, side=b"B", **said))
    t = testing.Run(load_pipeline(str(VWAP_ALERT)))

    t.feed(itch=sent).end()

    vwap, alerts = naive.vwap_alert([trade for trade in trades if trade[1] != 3])
    made = [(r.ts_event_ns, r.instrument_id, r.vwap, r.lots) for r in t.rows("vwap")]
    assert made == vwap
    assert [(r.ts_event_ns, r.instrument_id) for r in t.rows("far")] == alerts
    assert len(alerts) > 2


# --- own orders and the public book ---------------------------------------------------------------


def spoofs_by_hand(*, seed, milliseconds):
    """(spoofs that a plain loop finds, those that were planted)."""
    day = OwnDay(seed=seed, milliseconds=milliseconds)
    arrivals = [(feed, payload) for feed, _, payload in day]
    found = naive.spoofing(naive.own_orders(arrivals, day.midnight_ns))
    return found, [(e.pulled_ns, e.wall_id, e.fill_id) for e in day.episodes if e.is_spoof]


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    """The program writes its cases to the folder it is run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "desk-a"


@pytest.mark.parametrize("seed", [1, 2])
def test_own_orders_say_what_a_plain_loop_says_and_what_was_planted(seed, in_folder):
    expected, planted = spoofs_by_hand(seed=seed, milliseconds=8000)

    results = ot.run(load_pipeline(str(SPOOFING)), simulate="8s", seed=seed, quiet=True)

    made = [tuple(row) for row in results.spoof.rows.tolist()]
    assert made == expected
    assert {row[:2] for row in planted} - {row[:2] for row in made} <= {
        row[:2] for row in planted[-1:]
    }  # the last report may be under way when the day ends
    assert {row[1] for row in made} <= {row[1] for row in planted}
    assert len(made) >= 6
    assert len(list(in_folder.glob("spoof-*/case.json"))) == len(made)


def test_own_orders_in_plain_python_too(in_folder):
    with mode.running("interpreted"):
        results = ot.run(load_pipeline(str(SPOOFING)), simulate="1500ms", quiet=True)

    made = [tuple(row) for row in results.spoof.rows.tolist()]
    assert made == spoofs_by_hand(seed=1, milliseconds=1500)[0] != []


def cases_in(folder):
    """{case: what is in it}, without the times at which this machine received it."""
    import pyarrow.parquet as pq

    found = {}
    for case in folder.iterdir():
        document = json.loads((case / "case.json").read_text())
        del document["cause"]["ts_recv_ns"]
        files = sorted(case.glob("*.parquet"))
        tables = [pq.read_table(file).drop_columns("ts_recv_ns") for file in files]
        found[case.name] = document, tables
    return found


def test_own_orders_on_a_tape_and_the_cases_of_a_run_that_was_interrupted(
    in_folder, tmp_path, capsys, monkeypatch
):
    """Each case is there once, and as it would be had nothing happened."""
    run = ["run", SPOOFING, "--simulate", "--json", "--tape", tmp_path / "tape"]
    whole = run_json(capsys, *run[:-1], tmp_path / "whole", "--seconds", 8, "--speed", 0)
    expected = cases_in(in_folder)
    shutil.rmtree(in_folder)

    def pressed(items, *_):
        yield from islice(items, 450)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run_twin, "paced", pressed)
        run_json(capsys, *run)
    before = cases_in(in_folder)
    again = run_json(capsys, *run, "--resume", "--seconds", 8, "--speed", 0)

    assert again["digests"] == whole["digests"]
    assert 0 < len(before) < len(expected)
    assert cases_in(in_folder) == expected
    verified = run_json(capsys, "verify", SPOOFING, tmp_path / "tape", "--json")
    assert verified["equal"]


def test_a_live_drop_copy_says_what_there_is_instead(in_folder, tmp_path, capsys):
    assert cli.main(["run", str(SPOOFING), "--tape", str(tmp_path / "tape")]) == 1

    said = capsys.readouterr().err
    assert "FIX sessions (logon, heartbeats, resends) are not built yet" in said
    assert "--simulate --seconds 5" in said
    assert "ot.source('fix:PATH')" in said


def test_the_programs_pass_pyright_strict(tmp_path):
    """With the pyright that is on the path, or that ONETAPE_PYRIGHT names."""
    pyright = os.environ.get("ONETAPE_PYRIGHT") or shutil.which("pyright")
    if not pyright:
        pytest.skip("no pyright: npm install pyright, or set ONETAPE_PYRIGHT to one")
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT / "src")], "include": ["."]}
    for program in PROGRAMS.glob("*.py"):
        shutil.copy(program, tmp_path)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    argv = [pyright, "-p", str(tmp_path), "--pythonpath", sys.executable, "--outputjson"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=False)

    report = json.loads(done.stdout)
    told = [
        f"{d['file']}:{d['range']['start']}: {d['message']}" for d in report["generalDiagnostics"]
    ]
    assert told == []
    assert report["summary"]["filesAnalyzed"] == len(list(PROGRAMS.glob("*.py")))
