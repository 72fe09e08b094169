"""`onetape deploy` on a running node: compared in the shadow, switched, and back."""

import json
import os
import threading
import time

import pytest
from tests.runtimes.swapping import ADDS, BLOCK, BY_NAME, WIDER, Kept, numbers, replayed, version

from onetape import cli
from onetape.compiled import mode
from onetape.connect.registry import Registry
from onetape.engine.digest import state_digest
from onetape.records import OperatorError
from onetape.records.schemas import avro_schema
from onetape.runtimes import code, deploy
from onetape.runtimes.edge.control import Control, ask, facts_of
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.manifest import write_result
from onetape.runtimes.run.into_tape import follow_swaps


@pytest.fixture
def live(tmp_path, monkeypatch):
    monkeypatch.setattr(deploy, "make_way", lambda: None)
    pipeline = version(tmp_path / "a", ADDS.format(times=1))
    with EdgeNode(pipeline, tmp_path / "tape") as node, Control(node):
        kept = Kept(node.plan)
        follow_swaps(node, kept.digests, None)
        node.when_swapped.append(kept.follow)
        yield node, kept


def push(node, kept, *firsts):
    for first in firsts:
        assert node.push(numbers(first))
    kept.take(node.drain_until_idle())
    node.tape.sync()


def deployed(capsys, *words):
    assert cli.main(["deploy", *map(str, words), "--yes", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_file_settings_and_back(live, tmp_path, capsys):
    node, kept = live
    push(node, kept, 0)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "pipeline.py").write_text(WIDER.format(migrate=BY_NAME))
    wider = deployed(capsys, tmp_path / "b" / "pipeline.py", "--to", node.folder)
    push(node, kept, BLOCK)
    back = deployed(capsys, node.folder, "--rollback")
    other = deployed(capsys, node.folder, "--set", "Adds.times=20")
    push(node, kept, 2 * BLOCK)
    kept.take(node.stop())
    node.tape.sync()

    assert wider["steps"]["Adds"] == "is migrated, key by key"
    sums = wider["shadow"]["outputs"]["sum"]
    assert (sums["equal"], sums["differ"]) == (0, 500)  # the whole tape, from an empty state
    assert sums["first"][0]["old"]["sum"] == 1
    assert sums["first"][0]["new"]["sum"] == 3
    assert sums["only_new"] == 495  # of timers
    assert back["version"] == wider["before"]
    assert other["steps"]["Adds"] == "is kept"
    assert mode.is_interpreted() or [d["compiled"] for d in (wider, back, other)] == [0, 0, 0]
    assert {k: v for _, k, v in kept.rows["sum"] if k >= 0} == dict.fromkeys(range(10), 1200)
    again, state_again, _ = replayed(version(tmp_path / "a", ADDS.format(times=1)), node.folder)
    assert (again.hexes(), state_again) == (kept.hexes(), state_digest(node.engine))


def test_settings_given_before_go_on_to_another_file(live, tmp_path, capsys):
    node, kept = live
    push(node, kept, 0)
    set_once = deployed(capsys, node.folder, "--set", "Adds.times=20")
    (tmp_path / "b").mkdir()
    path = tmp_path / "b" / "pipeline.py"
    path.write_text(ADDS.format(times=7).replace("class Adds:", "class Adds:\n    # another"))
    words = [path, "--to", node.folder]
    went_on = deployed(capsys, *words)
    anew = deployed(capsys, *words, "--set", "Adds.times=30")
    dry = ["deploy", *map(str, words), "--reset-settings", "--dry-run"]
    assert cli.main(dry) == 0
    text = capsys.readouterr().out
    reset = deployed(capsys, *words, "--reset-settings")
    push(node, kept, BLOCK)
    kept.take(node.stop())
    node.tape.sync()

    said = [made["settings"] for made in (set_once, went_on, anew, reset)]
    times = "Adds.times"
    assert said == [{times: [1, 20]}, {}, {times: [20, 30]}, {times: [30, 7]}]
    assert text.startswith("settings:\n  Adds.times 30 -> 7\nstate:\n")
    assert json.loads(code.stored(node.folder, went_on["version"]).text())["settings"] == {
        times: "20"
    }
    assert {v for _, k, v in kept.rows["sum"] if k == 3} >= {50, 50 + 7, 50 + 7 * 50}
    again, state_again, _ = replayed(version(tmp_path / "a", ADDS.format(times=1)), node.folder)
    assert (again.hexes(), state_again) == (kept.hexes(), state_digest(node.engine))


def test_settings_that_are_not_in_the_new_file_are_named(live, tmp_path, capsys):
    node, kept = live
    push(node, kept, 0)
    deployed(capsys, node.folder, "--set", "Adds.times=20")
    (tmp_path / "b").mkdir()
    path = tmp_path / "b" / "pipeline.py"
    path.write_text(ADDS.format(times=7))
    words = ["deploy", str(path), "--to", str(node.folder), "--dry-run"]
    assert cli.main(words) == 0
    assert "  Adds.times=20, as given before\n" in capsys.readouterr().out
    path.write_text(WIDER.format(migrate=BY_NAME))
    assert cli.main(words) == 0
    assert f"{path} has no setting Adds.times any more" in capsys.readouterr().err
    original = [str(tmp_path / "a" / "pipeline.py"), "--to", str(node.folder)]
    assert cli.main(["deploy", *original]) == 1
    assert "(Adds.times=20 was given before; --reset-settings " in capsys.readouterr().err


def test_what_nobody_agreed_to_is_refused_and_the_last_way_back_is_not_offered(live, capsys):
    node, kept = live
    push(node, kept, 0)
    to_20 = ["deploy", str(node.folder), "--set", "Adds.times=20"]
    assert cli.main(to_20) == 1  # the tests' stdin is no terminal
    assert "nothing was deployed; --yes does it" in capsys.readouterr().err
    assert cli.main([*to_20, "--json"]) == 1
    assert not json.loads(capsys.readouterr().out)["deployed"]
    assert cli.main([*to_20, "--yes"]) == 0
    assert f"back: onetape deploy {node.folder} --rollback" in capsys.readouterr().out
    assert cli.main([*to_20[:-1], "Adds.times=30", "--yes"]) == 0
    capsys.readouterr()
    for is_back_offered in (True, False):
        assert cli.main(["deploy", str(node.folder), "--rollback", "--yes"]) == 0
        assert ("back:" in capsys.readouterr().out) == is_back_offered


def test_the_tape_tells_which_version_ran_from_where(live, tmp_path, capsys):
    node, kept = live
    push(node, kept, 0)
    made = deployed(capsys, node.folder, "--set", "Adds.times=2")
    push(node, kept, BLOCK)
    kept.take(node.stop())
    node.tape.sync()

    folder, (first, second) = str(node.folder), (made["before"], made["version"])
    assert cli.main(["tape", "ls", folder]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index(f"version {first[:12]} from frame 0 on")
    assert lines[at + 1] == f"version {second[:12]} from frame {made['offset']} on"
    assert cli.main(["tape", "cat", folder, "--kind", "swap"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split()[:2] == [str(made["offset"]), "CONTROL"]
    assert cli.main(["tape", "verify", folder]) == 0
    assert capsys.readouterr().out.endswith("bytes checked, 1 swap of versions\n")
    assert cli.main(["verify", str(tmp_path / "a" / "pipeline.py"), folder]) == 0
    assert "1 swap on the tape; each frame was run by" in capsys.readouterr().out


def test_verify_takes_each_version_at_its_place(live, tmp_path, capsys):
    node, kept = live
    push(node, kept, 0)
    deployed(capsys, node.folder, "--set", "Adds.times=2")
    push(node, kept, BLOCK)
    kept.take(node.stop())
    node.tape.sync()
    facts = {
        "digests": kept.hexes(),
        "state_digest": state_digest(node.engine),
        "messages": 2 * BLOCK,
    }
    write_result(node.folder, facts)

    path = tmp_path / "a" / "pipeline.py"
    assert cli.main(["verify", str(path), str(node.folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["same_code"]
    assert {answer["way"] for answer in found["answers"]} >= {"live", "replay", "edge"}


def test_what_is_refused_says_why_and_deploys_nothing(live, tmp_path, capsys):
    node, kept = live
    push(node, kept, 0)
    (tmp_path / "b").mkdir()
    path = tmp_path / "b" / "pipeline.py"

    def refused(*words):
        assert cli.main(["deploy", *map(str, words)]) == 1
        return capsys.readouterr().err

    path.write_text(WIDER.format(migrate=""))
    assert "migrate = 'by_name', or def migrate(self, old), in Adds" in refused(
        path, "--to", node.folder, "--yes"
    )
    path.write_text(ADDS.format(times=1).replace('sum: ot.i64\n"', 'more: ot.i64\n"'))
    assert "no version before" in refused(node.folder, "--rollback")
    assert "runs on" in refused(tmp_path / "a" / "pipeline.py", "--to", node.folder)
    assert "What is new?" in refused(node.folder).replace("what", "What", 1)
    assert "no node runs" in refused(path, "--to", tmp_path / "elsewhere")
    raises = "\n    def migrate(self, old):\n        self.sum = old.sum // (old.sum - old.sum)\n"
    path.write_text(WIDER.format(migrate=raises))
    assert "migrate raised ZeroDivisionError" in refused(path, "--to", node.folder, "--yes")
    path.write_text(ADDS.format(times=5))
    assert cli.main(["deploy", str(path), "--to", str(node.folder), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "sum                       0      500" in out
    assert "caused by sequence 1 of source 0" in out
    assert node.version == node.manifest["version"]


def test_why_tells_of_a_row_with_the_version_that_made_it(live, tmp_path, capsys):
    node, kept = live
    push(node, kept, 0)
    deployed(capsys, node.folder, "--set", "Adds.times=1000")
    push(node, kept, BLOCK)
    kept.take(node.stop())
    node.tape.sync()

    words = ["why", str(tmp_path / "a" / "pipeline.py"), str(node.folder), "--output", "sum"]
    assert cli.main([*words, "--row", str(BLOCK), "--json"]) == 0
    story = json.loads(capsys.readouterr().out)
    assert story["row"]["sum"] == 50 + 1000
    assert (story["operator"], story["key"]) == ("Adds", 0)


def wait_for(condition):
    end_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.01)


def test_a_bad_question_is_said_removed_and_does_not_end_the_node_s_ear(live, tmp_path, capsys):
    node, kept = live
    push(node, kept, 0)
    control, other = node.folder / "control", tmp_path / "other.json"
    other.write_text('{"version": "x"}')
    (control / "request-0.json").write_text('{"version"')
    (control / "request-1.json").symlink_to(control / "nowhere")
    (control / "request-2.json").symlink_to(other)
    (control / "request-3.json").write_text("[]")
    (control / "request-4.json").write_text("{}")
    (control / "request-5.json").mkdir()
    os.mkfifo(control / "request-6.json")
    with pytest.raises(OperatorError, match=r"y\.json is not there"):
        ask(node.folder, {"version": "y"})
    said = capsys.readouterr().err.splitlines()
    for n in (0, 1, 2, 3, 5, 6):
        assert sum(f"request-{n}.json" in line for line in said) == 1
    answered = {p.name: json.loads(p.read_text())["error"] for p in control.glob("answer-*")}
    assert sorted(answered) == [f"answer-{n}.json" for n in (0, 1, 2, 3, 4, 6)]
    assert "no question to a node" in answered["answer-0.json"]
    assert [path.name for path in control.glob("request-*")] == ["request-5.json"]
    assert other.exists()
    assert deployed(capsys, node.folder, "--set", "Adds.times=2")["version"] == node.version


@pytest.mark.parametrize("text", ["{", "[]", '{"history": 7}'])
def test_what_is_told_of_a_node_is_made_anew_if_it_cannot_be_read(tmp_path, capsys, text):
    with EdgeNode(version(tmp_path / "a", ADDS.format(times=1)), tmp_path / "tape") as node:
        control = node.folder / "control"
        control.mkdir(mode=0o755)
        (control / "node.json").write_text(text)
        with Control(node):
            assert facts_of(node.folder)["history"] == [node.version]
            assert control.stat().st_mode & 0o777 == 0o700
        (control / "node.json").write_text(text)
        if text == "{":
            with pytest.raises(OperatorError, match=r"node\.json cannot be read"):
                facts_of(node.folder)
        list(node.stop())
    assert "node.json cannot be read, and is made anew" in capsys.readouterr().err


def test_a_control_folder_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    with EdgeNode(version(tmp_path / "a", ADDS.format(times=1)), tmp_path / "tape") as node:
        (node.folder / "control").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OperatorError, match="control is no folder"), Control(node):
            pass
        list(node.stop())


def test_a_shadow_ends_when_its_node_does(live, tmp_path, capsys):
    node, kept = live
    push(node, kept, 0)
    codes = []
    words = ["deploy", str(node.folder), "--set", "Adds.times=2", "--shadow-events", "1000000"]
    asking = threading.Thread(target=lambda: codes.append(cli.main([*words, "--yes"])))
    asking.start()
    wait_for(lambda: len(list((node.folder / "versions").iterdir())) == 2)
    kept.take(node.stop())
    node.tape.close()
    asking.join(60)
    assert codes == [1]
    assert "has ended: 500 events were compared, of 1,000,000; noth" in capsys.readouterr().err


def test_a_strange_file_among_the_versions_is_passed_over(live, capsys):
    node, kept = live
    push(node, kept, 0)
    versions = node.folder / "versions"
    (versions / "notes.json").write_text("{")
    (versions / f"{node.version} (copy).json").write_text("{}")
    assert cli.main(["deploy", str(node.folder), "--set", "Adds.times=2", "--yes"]) == 0
    said = capsys.readouterr().err
    assert said.count("notes.json is no version of the pipeline, and is passed over") == 1
    assert said.count("(copy).json is no version") == 1


def test_an_output_that_readers_could_not_read_is_refused_with_the_field_named(
    live, tmp_path, capsys
):
    node, kept = live
    push(node, kept, 0)
    (tmp_path / "b").mkdir()
    path = tmp_path / "b" / "pipeline.py"
    renamed = ADDS.format(times=1).replace("    sum: ot.i64\n", "    total: ot.i64\n", 1)
    path.write_text(renamed)
    words = ["deploy", str(path), "--to", str(node.folder), "--yes", "--compatibility", "backward"]

    assert cli.main(words) == 1

    said = capsys.readouterr().err
    assert "sum, backward: Sum.total is new and has no default" in said
    assert "if it was called 'sum': @ot.record(was={'total': 'sum'})" in said
    assert facts_of(node.folder)["history"] == [facts_of(node.folder)["version"]]


def test_a_registry_is_asked_before_a_deploy_and_has_the_schema_after_it(
    live, registry, tmp_path, capsys
):
    node, kept = live
    push(node, kept, 0)
    url = f"{registry.address}/apis/ccompat/v7"
    known = Registry(url)
    first = avro_schema(node.plan.pipeline.outputs["sum"].of)
    narrow = {**first, "fields": first["fields"][:2]}  # who reads this needs no `sum`
    known.register("sum-value", narrow)
    (tmp_path / "b").mkdir()
    path = tmp_path / "b" / "pipeline.py"
    path.write_text(ADDS.format(times=7))
    words = ["deploy", str(path), "--to", str(node.folder), "--yes", "--json", "--registry", url]

    assert cli.main(words) == 1
    assert "sum-value, backward: Sum.sum is new and has no default" in capsys.readouterr().err
    assert facts_of(node.folder)["history"] == [facts_of(node.folder)["version"]]

    assert cli.main([*words, "--compatibility", "forward"]) == 0
    assert len(facts_of(node.folder)["history"]) == 2
    assert [one.schema for one in known.history("sum-value")] == [narrow, first]
