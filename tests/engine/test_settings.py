"""Other settings for a pipeline that is there: from a mapping, the command line, a TOML file."""

import json

import pytest

from onetape import cli, testing
from onetape.engine.settings import with_settings
from onetape.records import OperatorError

PROGRAM = """\
import onetape as ot
from onetape import c


@ot.record
class Price:
    ts_event_ns: ot.i64
    asset_id: ot.u32
    price_ticks: ot.i64


@ot.operator(key="asset_id")
class Jumps:
    last: ot.i64 = ot.UNSET

    def on_price(
        self, p: Price, *, least: ot.Ticks = 5, age: ot.Duration = "1s", times: int = 1
    ) -> Price | None:
        was, self.last = self.last, p.price_ticks
        if was == ot.UNSET or abs(p.price_ticks - was) * times < least:
            return None
        return p


@ot.operator
def wide(p: Price, *, over: ot.Ticks = 0) -> Price | None:
    return p if p.price_ticks > over else None


prices = ot.source(Price)
jumps = Jumps(prices.filter(c.price_ticks > 0), least=10)
pipeline = ot.Pipeline(jump=jumps, wide=wide(jumps))
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "pipeline.py"
    path.write_text(PROGRAM)
    return path


@pytest.fixture
def pipeline(program):
    from onetape.runtimes.load import load_pipeline

    return load_pipeline(str(program))


def jumps_of(pipeline):
    (price,) = {source.of for source in pipeline.sources}
    t = testing.Run(pipeline)
    t.feed(price=[price(n, 1, ticks) for n, ticks in enumerate((100, 103, 110, 121))])
    return [row.price_ticks for row in t.rows("jump")]


def test_a_setting_given_replaces_what_the_program_says(pipeline):
    assert jumps_of(pipeline) == [121]
    assert jumps_of(with_settings(pipeline, {"Jumps.least": 7})) == [110, 121]
    assert jumps_of(with_settings(pipeline, {"Jumps.least": "3", "Jumps.times": "1"})) == [
        103,
        110,
        121,
    ]
    assert jumps_of(pipeline) == [121]  # the pipeline itself is as it was


def test_a_graph_with_other_settings_shares_its_nodes_as_before(pipeline):
    changed = with_settings(pipeline, {"wide.over": 3})

    assert [node.name for node in changed.nodes] == [node.name for node in pipeline.nodes]
    assert changed.outputs["jump"].node is changed.outputs["wide"].node.inputs[0][1].node
    assert with_settings(pipeline, {}) is pipeline


MISTAKES = [
    (
        "Jumps.leest=5",
        r"'Jumps.leest': Jumps has no setting 'leest' \(did you mean 'least'\?",
    ),
    (
        "Jump.least=5",
        r"no operator 'Jump' with settings \(did you mean 'Jumps'\?\); it has Jumps, w",
    ),
    ("least=5", r"setting 'least'; expected OPERATOR.SETTING=VALUE \(Jumps.least, "),
    ("Jumps.least", r"--set was 'Jumps.least'; expected OPERATOR.SETTING=VALUE"),
    ("Jumps.least=5ms", "setting 'least': '5ms' is not a whole number of ticks"),
    ("Jumps.least=0.5", "setting 'least': '0.5' is not a whole number of ticks"),
    ("Jumps.age=5", "setting 'age': duration '5' is not a whole number and a unit; write for exam"),
    ("Jumps.times=two", "setting 'times' was 'two'; expected a whole number"),
    (f"Jumps.least={2**63}", "it has 64 bits"),
]


@pytest.mark.parametrize(("text", "says"), MISTAKES)
def test_a_mistake_is_told_with_what_is_nearest(text, says, program, capsys):
    assert cli.main(["explain", str(program), "--set", text]) == 1
    with pytest.raises(OperatorError, match=says):
        raise OperatorError(capsys.readouterr().err)


def settings_of(capsys, *argv):
    assert cli.main(["explain", *map(str, argv), "--json"]) == 0
    nodes = json.loads(capsys.readouterr().out)["nodes"]
    return next(node["detail"][0] for node in nodes if node["name"] == "Jumps")


def test_explain_shows_what_counts_the_command_line_before_the_file(program, tmp_path, capsys):
    file = tmp_path / "settings.toml"
    file.write_text('[Jumps]\nleast = 7\nage = "2ms"\n')

    assert settings_of(capsys, program) == "settings least=10 ticks, age=1000000000 ns, times=1"
    both = settings_of(capsys, program, "--settings", file, "--set", "Jumps.least=8")
    assert both == "settings least=8 ticks, age=2000000 ns, times=1"


FILES = [
    ("least = 5", "least = 5 stands outside of a table; write [OPERATOR] above it"),
    ("[Jumps]\nleast 5", "this is not TOML: "),
    ("[Jumps]\nleast = 1.5", "setting 'least': 1.5 is not a number of ticks"),
    ("[Jumps]\nleast = true", "setting 'least': True is not a number of ticks"),
    ("[Jumps]\nagee = 5", "has no setting 'agee' (did you mean 'age'?)"),
]


@pytest.mark.parametrize(("text", "says"), FILES)
def test_a_mistake_in_a_file_is_told_with_the_file(text, says, program, tmp_path, capsys):
    file = tmp_path / "settings.toml"
    file.write_text(text)

    assert cli.main(["explain", str(program), "--settings", str(file)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"onetape: {file}: ")
    assert says in said


def test_a_tape_is_of_the_settings_it_was_made_with(tmp_path, capsys):
    program = tmp_path / "mine.py"
    program.write_text(
        "import onetape as ot\n"
        "from onetape import market as mk\n"
        "@ot.operator\n"
        "def large(t: mk.Trade, *, lots: ot.Lots = 10**8) -> mk.Trade | None:\n"
        "    return t if t.qty_lots > lots else None\n"
        'feed = ot.source("kraken:BTC/USD").on_grid("0.01")\n'
        "pipeline = ot.Pipeline(large=large(feed.trades()))\n"
    )
    less = ["--set", "large.lots=1000", "--json"]
    twin = ["--simulate", "--seconds", "1", "--speed", "0", "--tape", str(tmp_path / "tape")]
    assert cli.main(["run", str(program), *twin, *less]) == 0
    facts = json.loads(capsys.readouterr().out)

    assert cli.main(["verify", str(program), str(tmp_path / "tape"), *less]) == 0
    assert json.loads(capsys.readouterr().out)["equal"]
    assert cli.main(["verify", str(program), str(tmp_path / "tape")]) == 0
    said = capsys.readouterr().out
    differ = "large.lots was 1000, is 100000000"
    assert f"the tape was made by another pipeline (settings: {differ}); what" in said
    assert cli.main(["run", str(program), *twin, "--resume"]) == 1
    said = capsys.readouterr().err
    assert f"was made by this pipeline with other settings: {differ}; give those" in said
    assert "(--set large.lots=1000)" in said
    assert facts["rows"]["large"] > 50
