"""`onetape bench NAME|all`: run the benches, print a table or JSON, keep a history if asked."""

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onetape.records import OperatorError

HISTORY = Path(__file__).with_name("history.jsonl")


def itch(quick: bool) -> dict[str, Any]:
    from bench import itch

    return itch.run(messages=200_000, rounds=3) if quick else itch.run()


def window(quick: bool) -> dict[str, Any]:
    from bench import window

    return window.run(events=500_000, rounds=3) if quick else window.run()


def tape(quick: bool) -> dict[str, Any]:
    from bench import recover, tape

    written = tape.run(1.0 if quick else 5.0)
    again = recover.run(1_000_000 if quick else 10_000_000)
    answer_ok = written.pop("answer_ok", True) and again.pop("answer_ok")
    return {"answer_ok": answer_ok, **written, **again}


def startup(quick: bool) -> dict[str, Any]:
    from bench import startup

    return startup.run(rounds=1 if quick else 3)


def peers(quick: bool) -> dict[str, Any]:
    from bench import peers

    return peers.run(share=0.05, seconds=0.5) if quick else peers.run()


BENCHES: dict[str, Callable[[bool], dict[str, Any]]] = {
    "itch": itch,
    "window": window,
    "tape": tape,
    "startup": startup,
    "peers": peers,
}


def run(args: argparse.Namespace) -> int:
    """Exit status 1 if an answer was wrong."""
    names = list(BENCHES) if args.name == "all" else [args.name]
    for name in names:
        if name not in BENCHES:
            raise OperatorError(f"no bench {name!r}; there are {', '.join(BENCHES)} and all")
    results = {}
    for name in names:
        results[name] = BENCHES[name](args.quick)
        if not args.json:
            print(f"{name}")
            _show(results[name])
    if args.json:
        print(json.dumps(results[names[0]] if len(names) == 1 else results))
    if args.record:
        _record(results)
    return 0 if all(result["answer_ok"] for result in results.values()) else 1


def _show(result: dict[str, Any]) -> None:
    """A line a figure; a table where the value is one."""
    for key, value in result.items():
        if key == "engines":
            _show_table(key, value)
        else:
            print(f"  {key:24s} {_text(value)}")


def _show_table(name: str, rows: dict[str, dict[str, Any]]) -> None:
    lines = [[name, *next(iter(rows.values()))]]
    lines += [[key, *map(_text, row.values())] for key, row in rows.items()]
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        print("  " + "  ".join(f"{text:>{width}s}" for text, width in zip(line, widths)))


def _text(value: Any) -> str:
    return f"{value:,}" if type(value) in (int, float) else str(value)


def _record(results: dict[str, Any]) -> None:
    """One line: when, which commit, what machine, what came out."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=HISTORY.parent,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    line = {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "results": results,
    }
    with HISTORY.open("a") as out:
        out.write(json.dumps(line) + "\n")
