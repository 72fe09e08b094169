"""What a shell offers at a place of the command line: asked of the shell, where it is there."""

import shutil
import subprocess

import pytest

from onetape import cli

OFFERS = [
    ("onetape re", ["relay", "replay", "restore"]),
    ("onetape --tr", ["--traceback"]),
    ("onetape run --wai", ["--wait"]),
    ("onetape run --wait s", ["sleep", "spin"]),
    ("onetape tape ", ["cat", "ls", "verify"]),
    ("onetape tape cat day --k", ["--kind"]),
    ("onetape tape cat day --kind ma", ["manifest"]),
    ("onetape completion ", ["bash", "fish", "zsh"]),
    ("onetape explain --d", ["--driver"]),
]
ASK_BASH = """
source "$1"
IFS=' ' read -ra COMP_WORDS <<< "$2"
[[ $2 == *' ' ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_onetape
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell, folder, capsys):
    assert cli.main(["completion", shell]) == 0
    path = folder / f"onetape.{shell}"
    path.write_text(capsys.readouterr().out)
    return path


def ask(*words):
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=True
    )
    return sorted(line.split("\t")[0] for line in done.stdout.splitlines() if line)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(("typed", "offered"), OFFERS)
def test_bash_offers(tmp_path, capsys, typed, offered):
    path = script("bash", tmp_path, capsys)

    assert ask("bash", "-c", ASK_BASH, "bash", str(path), typed) == offered


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
@pytest.mark.parametrize(("typed", "offered"), OFFERS)
def test_fish_offers(tmp_path, capsys, typed, offered):
    path = script("fish", tmp_path, capsys)

    assert ask("fish", "--no-config", "-c", f"source {path}; complete -C '{typed}'") == offered


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_takes_the_script_of_bash(tmp_path, capsys):
    path = script("zsh", tmp_path, capsys)

    shown = ask("zsh", "-f", "-c", f"source {path}; print ${{_comps[onetape]%% *}}")
    assert shown == ["_bash_complete"]
