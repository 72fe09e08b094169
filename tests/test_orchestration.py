"""What cron, Airflow and Argo call: job files whose commands exist, everywhere in one order."""

import ast
import re
from pathlib import Path

import pytest

from onetape import cli
from onetape.runtimes.job.job import read_job

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
STEPS = ["load", "rows", "report", "compact"]
DAY = "2026-01-05"


@pytest.mark.parametrize("step", STEPS)
def test_a_job_file_names_a_command_that_is_there(step):
    job = read_job(DEPLOY / "jobs" / f"{step}.toml", key=DAY)
    program, command, *words = job.command

    assert (job.name, program) == (step, "onetape")
    args = cli.make_parser([command]).parse_args([command, *words])
    assert callable(args.run)
    assert any(DAY in word for word in words) or step == "compact"


def test_the_folder_has_no_other_job_files():
    assert sorted(path.stem for path in (DEPLOY / "jobs").glob("*.toml")) == sorted(STEPS)


def test_the_airflow_dag_runs_them_in_order():
    tree = ast.parse((DEPLOY / "airflow" / "onetape_day.py").read_text())
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    (steps,) = (
        ast.literal_eval(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "STEPS"
    )

    assert list(steps) == STEPS
    assert "onetape job run " in texts and ".toml --key " in texts
    assert cli.make_parser(["job"]).parse_args(["job", "run", "x.toml", "--key", DAY]).key == DAY


def test_the_argo_workflow_runs_them_in_order():
    text = (DEPLOY / "argo" / "onetape-day.yaml").read_text()
    (words,) = re.findall(r"command: \[onetape, (.*)\]", text)

    assert re.findall(r"\{name: step, value: (\w+)\}", text) == STEPS
    assert words.split(", ")[:2] == ["job", "run"]
    options = re.search(r"args: \[(--\w+), .*, (--\w+), ", text)
    assert options is not None
    args = cli.make_parser(["job"]).parse_args(["job", "run", "x.toml", options[1], DAY])
    assert args.key == DAY and options[2] == "--jobs"
