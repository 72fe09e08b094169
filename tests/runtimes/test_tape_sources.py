"""A tape is run only by a pipeline that reads the sources it was recorded from."""

import json

import numpy as np
import pytest

import onetape as ot
from onetape import cli
from onetape.codecs.block import read_header
from onetape.records import OperatorError
from onetape.runtimes.blocks import blocks_of_tape
from onetape.runtimes.dev.feed import open_input
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.inputs import inputs_of
from onetape.runtimes.manifest import check_sources, sources_of
from onetape.runtimes.verify.command import Answer, verify
from onetape.tape.layout import read_facts

FILL = """import onetape as ot

@ot.record
class Fill:
    ts_event_ns: ot.i64
    qty_lots: ot.i64

pipeline = ot.Pipeline(fill=ot.source(Fill, name="fill"))
"""


@ot.record
class Fill:
    ts_event_ns: ot.i64
    qty_lots: ot.i64


@ot.record
class Quote:
    ts_event_ns: ot.i64
    price_ticks: ot.i64


def of(*records, name=None):
    made = {r.__name__.lower(): ot.source(r, name=name or r.__name__.lower()) for r in records}
    return ot.Pipeline(**made)


def recorded(folder, rows=0, pipeline=None):
    block = np.zeros(rows, Fill.dtype)
    block["ts_event_ns"] = range(rows)
    with EdgeNode(pipeline or of(Fill), folder) as node:
        assert not rows or node.push(block.tobytes())
        for number in range(len(node.plan.pipeline.sources)):
            assert node.push_end(number)
        list(node.stop())
        node.tape.sync()
    return folder


def test_a_manifest_names_the_sources_of_its_tape(tmp_path):
    found = read_facts(str(recorded(tmp_path / "tape"))).manifest["sources"]

    fields = [["ts_event_ns", "<i8"], ["qty_lots", "<i8"]]
    assert found == [{"name": "fill", "feed": "", "fields": fields}]


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (of(Quote), r"quote \(ts_event_ns"),  # another name, the same size
        (of(Quote, name="fill"), r"fill \(ts_event_ns <i8, price_ticks"),  # only its fields
        (of(Fill, Quote), r"fill .*, quote "),  # more than there is
        (ot.Pipeline(book=ot.source("itch").top_of_book()), r"itch \(itch\)"),
    ],
)
def test_a_pipeline_of_other_sources_is_refused_wherever_a_tape_is_read(tmp_path, other, why):
    tape = recorded(tmp_path / "tape", 5)
    ways = [
        lambda: verify(other, tape),
        lambda: list(blocks_of_tape(other, tape)),
        lambda: open_input(tape).framing_of(other),
    ]
    for way in ways:
        with pytest.raises(OperatorError, match=f"recorded from the sources fill .*reads {why}"):
            way()


def test_the_last_sources_of_a_tape_may_be_left_out(tmp_path):
    tape = recorded(tmp_path / "tape", 5, of(Fill, Quote))

    equal, _, lines = verify(of(Fill), tape)

    assert equal, lines


def test_a_tape_that_does_not_tell_its_sources_is_judged_by_their_names():
    manifest = {"framing": {"fill": "length_prefixed"}}

    check_sources(of(Fill), "tape", manifest)
    with pytest.raises(OperatorError, match=r"sources fill, and the pipeline reads quote"):
        check_sources(of(Quote), "tape", manifest)


def test_sources_do_not_change_in_json():
    made = sources_of(of(Fill, Quote))

    assert json.loads(json.dumps(made)) == made


def test_nothing_was_compared_is_no_success(tmp_path, monkeypatch):
    tape = recorded(tmp_path / "tape", 5)
    nothing = lambda way, steps, pipeline: Answer(way, {}, "", 0)  # noqa: E731
    monkeypatch.setattr("onetape.runtimes.verify.command.answer_of", nothing)
    (tape / "result.json").unlink(missing_ok=True)

    equal, facts, lines = verify(of(Fill), tape)

    assert not equal
    assert not facts["equal"]
    assert lines[-1] == f"NOTHING WAS COMPARED: {tape} has data, and no way made an event of it"


def test_ways_that_differ_in_state_alone_are_not_said_to_be_equal(tmp_path, monkeypatch):
    tape = recorded(tmp_path / "tape")
    other = lambda way, steps, pipeline: Answer(way, {}, way, 0)  # noqa: E731
    monkeypatch.setattr("onetape.runtimes.verify.command.answer_of", other)

    equal, _, lines = verify(of(Fill), tape)

    assert (equal, lines[-1]) == (False, "NOT EQUAL")


def test_a_tape_without_events_is_equal_and_says_that_it_has_none(tmp_path):
    equal, _, lines = verify(of(Fill), recorded(tmp_path / "tape"))

    assert equal
    assert lines[-1] == "all equal, of nothing: the input holds no events"


def test_a_file_of_a_feed_is_not_for_a_pipeline_of_records():
    with pytest.raises(OperatorError, match=r"day.itch is taken .* fill \(Fill\), of no feed"):
        inputs_of(of(Fill), "day.itch")


def test_a_run_of_no_events_tells_no_times(tmp_path, capsys):
    program = tmp_path / "fill.py"
    table = "pyarrow.table({'ts_event_ns': TIMES, 'qty_lots': TIMES})"
    for times, said in (("pyarrow.array([], 'i8')", "0 events"), ("[1, 2]", "2 events")):
        text = FILL.replace(
            "ot.source(Fill,", f"ot.read({table.replace('TIMES', times)}, as_=Fill,"
        )
        program.write_text("import pyarrow\n" + text)
        assert cli.main(["run", str(program), "--tape", str(tmp_path / said)]) == 0
        line = capsys.readouterr().out.splitlines()[0]
        assert line.startswith(said)
        assert ("service p50" in line) == (said == "2 events")


def test_the_commands_refuse_too(tmp_path, capsys):
    (tmp_path / "fill.py").write_text(FILL)
    tape = str(recorded(tmp_path / "tape", 5))
    lake = ["lake", "write", "standard", "--to", str(tmp_path / "lake"), "--day", "2026-01-05"]
    kafka = ["publish", "standard", "--kafka", "127.0.0.1:1", "--topic", "t"]
    nats = ["nats", "publish", "standard", "--nats", "nats://127.0.0.1:1", "--stream", "S"]
    for command in (
        ["verify", "standard", tape],
        ["verify", "standard", tape, "--runtimes", "edge,batch"],
        [*lake, "--from-tape", tape],
        [*kafka, "--from-tape", tape],
        [*nats, "--from-tape", tape],
    ):
        assert cli.main(command) == 1, command
        assert "was recorded from the sources fill" in capsys.readouterr().err, command
    assert not (tmp_path / "lake").exists()
    assert cli.main(["verify", str(tmp_path / "fill.py"), tape, "--runtimes", "edge,batch"]) == 0


def test_events_of_a_source_that_is_left_out_are_not_counted(tmp_path):
    fills, quotes = np.zeros(3, Fill.dtype), np.zeros(5, Quote.dtype)
    with EdgeNode(of(Fill, Quote), tmp_path / "tape") as node:
        assert node.push(fills.tobytes(), source=0)
        assert node.push(quotes.tobytes(), source=1)
        list(node.stop())
        node.tape.sync()

    counted = [
        sum(read_header(block).count for _, block in blocks_of_tape(pipeline, tmp_path / "tape"))
        for pipeline in (of(Fill, Quote), of(Fill))
    ]

    assert counted == [8, 3]
