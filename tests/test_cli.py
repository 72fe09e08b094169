"""The map of commands: what it says is what the commands say, and looking at it is quick."""

import argparse
import subprocess
import sys

from onetape import cli


def commands_of(parser):
    (found,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    return found


def test_the_map_says_of_each_command_what_its_module_says():
    found = {one.dest: one.help for one in commands_of(cli.make_parser())._choices_actions}

    assert found == {name: text for name, (text, _) in cli.COMMANDS.items()}


def test_only_the_command_that_runs_has_its_options():
    commands = commands_of(cli.make_parser(["explain"])).choices

    assert list(commands) == list(cli.COMMANDS)
    assert "--driver" in commands["explain"].format_help()
    assert "--tape" not in commands["run"].format_help()


def test_help_loads_no_command_and_no_library():
    show = (
        "import sys\nfrom onetape.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "slow = ('numba', 'pyarrow', 'rich', 'onetape.runtimes', 'onetape.sim')\n"
        "print('loaded:', *(name for name in slow if name in sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", show], capture_output=True, text=True, timeout=60, check=True
    )

    assert all(f"\n    {name}" in done.stdout for name in cli.COMMANDS)
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_an_unknown_command_is_told_what_there_is(capsys):
    try:
        cli.main(["rnu"])
    except SystemExit as why:
        assert why.code == 2
    assert "'rnu' (choose from" in capsys.readouterr().err
