"""`onetape completion SHELL`: a script with all commands and options, read from their parsers.

The script is static, so that a Tab starts no Python. bash and zsh share one: a table of words for
each place on the command line, and a function that finds the place. fish has a line an option.
"""

import argparse
import shlex
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

BASH = """\
_onetape() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
    local place= word names= options=
    for word in "${{COMP_WORDS[@]:1:$((COMP_CWORD-1))}}"; do
        case "$place $word" in {places}) place="$place $word" ;; esac
    done
    case "$place" in
{words}
    esac
    [[ $current == -* ]] && names=$options
    case "$place $before" in
{choices}
    esac
    COMPREPLY=($(compgen -W "$names" -- "$current"))
}}
complete -o default -F _onetape onetape
"""
ZSH = "autoload -U +X compinit bashcompinit\n(( $+functions[compdef] )) || compinit\nbashcompinit\n"


class Place(NamedTuple):
    """A command, or a command of a command: `onetape tape ls` is the place (tape, ls)."""

    path: tuple[str, ...]
    options: list[argparse.Action]
    commands: dict[str, str]  # name: what it does


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "completion",
        help="print what makes a shell complete onetape",
        description="Print a script that completes commands, options and their choices.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='put into ~/.bashrc or ~/.zshrc:\n  eval "$(onetape completion bash)"\n'
        "for fish:\n  onetape completion fish > ~/.config/fish/completions/onetape.fish",
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    places = list(_places(args.make_parser(), ()))
    if args.shell == "fish":
        print("\n".join(_fish(places)))
    else:
        print((ZSH if args.shell == "zsh" else "") + _bash(places), end="")
    return 0


def _places(parser: argparse.ArgumentParser, path: tuple[str, ...]) -> Iterator[Place]:
    inner = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    texts = {one.dest: one.help or "" for action in inner for one in action._choices_actions}
    options = [one for one in parser._actions if one not in inner]
    yield Place(path, options, texts)
    for action in inner:
        for name in texts:
            yield from _places(action.choices[name], (*path, name))


def _bash(places: list[Place]) -> str:
    words, choices = [], []
    for place in places:
        at = "".join(f" {name}" for name in place.path)
        names = list(place.commands)
        for one in place.options:
            among = [str(choice) for choice in one.choices or ()]
            if among and one.option_strings:
                before = "|".join(f'"{at} {text}"' for text in one.option_strings)
                choices.append(f"        {before}) names={_quoted(among)} ;;")
            elif not one.option_strings:
                names += among
        options = _quoted(text for one in place.options for text in one.option_strings)
        words.append(f'        "{at}") names={_quoted(names)} options={options} ;;')
    paths = "|".join(f'" {" ".join(place.path)}"' for place in places[1:])
    return BASH.format(places=paths, choices="\n".join(choices), words="\n".join(words))


def _quoted(words: Iterable[str]) -> str:
    return shlex.quote(" ".join(words))


def _fish(places: list[Place]) -> Iterator[str]:
    for place in places:
        seen = [f"__fish_seen_subcommand_from {name}" for name in place.path]
        if place.commands:
            seen.append(f"not __fish_seen_subcommand_from {' '.join(place.commands)}")
        line = f"complete -c onetape -n {shlex.quote('; and '.join(seen) or 'true')}"
        for name, text in place.commands.items():
            yield f"{line} -f -a {name} -d {shlex.quote(text)}"
        for one in place.options:
            among = f" -x -a {_quoted(map(str, one.choices))}" if one.choices else ""
            for text in one.option_strings:
                flag = f"-l {text[2:]}" if text.startswith("--") else f"-s {text[1:]}"
                value = among or (" -r" if one.nargs != 0 else "")
                yield f"{line} {flag}{value}"
            if among and not one.option_strings:
                yield f"{line}{among}"
