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


def closing(quick: bool) -> dict[str, Any]:
    from bench import closing

    return closing.run(keys=5_000, rounds=1) if quick else closing.run()


def nexmark(quick: bool) -> dict[str, Any]:
    from bench import peers

    given: dict[str, Any] = {"share": 0.05, "seconds": 0.5} if quick else {}
    return peers.run(**given, suite="bench.nexmark")


def pattern(quick: bool) -> dict[str, Any]:
    from bench import pattern

    return pattern.run(events=200_000, rounds=2) if quick else pattern.run()


def debs(quick: bool) -> dict[str, Any]:
    from bench import debs

    return debs.run(events=500_000, rounds=2) if quick else debs.run()


def partitions(quick: bool) -> dict[str, Any]:
    from bench import partitions

    return partitions.run(200_000, 500_000, rounds=2) if quick else partitions.run()


def lake(quick: bool) -> dict[str, Any]:
    from bench import lake

    return lake.run(messages=200_000, rounds=1) if quick else lake.run()


def columns(quick: bool) -> dict[str, Any]:
    from bench import columns

    return columns.run(events=400_000, rounds=3) if quick else columns.run()


def join(quick: bool) -> dict[str, Any]:
    from bench import join

    return join.run(events=400_000, rounds=3) if quick else join.run()


def own_orders(quick: bool) -> dict[str, Any]:
    from bench import own_orders

    return own_orders.run(messages=100_000, rounds=2) if quick else own_orders.run()


def keys(quick: bool) -> dict[str, Any]:
    from bench import keys

    return keys.run(keys=500_000, events=500_000) if quick else keys.run()


def tape(quick: bool) -> dict[str, Any]:
    from bench import recover, tape

    written = tape.run(1.0 if quick else 5.0)
    again = recover.run(1_000_000 if quick else 10_000_000)
    answer_ok = written.pop("answer_ok", True) and again.pop("answer_ok")
    return {"answer_ok": answer_ok, **written, **again}


def checkpoint(quick: bool, **given: Any) -> dict[str, Any]:
    from bench import checkpoint

    return checkpoint.run(**({"sizes": (4, 16), "seconds": 2.0} if quick else {}) | given)


def startup(quick: bool) -> dict[str, Any]:
    from bench import startup

    return startup.run(rounds=1 if quick else 3)


def dev(quick: bool) -> dict[str, Any]:
    from bench import dev

    return dev.run(count=4 if quick else 20)


def peers(quick: bool) -> dict[str, Any]:
    from bench import peers

    return peers.run(share=0.05, seconds=0.5) if quick else peers.run()


def wire(quick: bool, **given: Any) -> dict[str, Any]:
    from bench import wire

    if quick:
        given = {"rates": (wire.MAIN_RATE,), "seconds": 1.0} | given
    return wire.run(**given)


def wire_faults(quick: bool) -> dict[str, Any]:
    from bench import wire_faults

    return wire_faults.run(quick)


def soak(quick: bool, **given: Any) -> dict[str, Any]:
    from bench import wire_soak

    return wire_soak.run(**({"seconds": 4.0} if quick else {}) | given)


def swap(quick: bool, **given: Any) -> dict[str, Any]:
    from bench import swap

    return swap.run(**({"swaps": 4} if quick else {}) | given)


def kafka(quick: bool, **given: Any) -> dict[str, Any]:
    from bench import kafka

    short = {"messages": 400_000, "rate": 50_000, "rounds": 1}
    return kafka.run(**(short if quick else {}) | given)


def stores(quick: bool) -> dict[str, Any]:
    from bench import stores

    short = {"rows": 20_000, "rounds": 1, "messages_per_s": 20_000, "seconds": 2.0}
    return stores.run(**short) if quick else stores.run()  # type: ignore[arg-type]


def cluster(quick: bool, **given: Any) -> dict[str, Any]:
    from bench import cluster

    short = {"messages": 400_000, "rounds": 1, "kills": 1} if quick else {}
    return cluster.run(**short | given)


BENCHES: dict[str, Callable[..., dict[str, Any]]] = {
    "itch": itch,
    "window": window,
    "closing": closing,
    "nexmark": nexmark,
    "columns": columns,
    "pattern": pattern,
    "keys": keys,
    "debs": debs,
    "join": join,
    "own_orders": own_orders,
    "partitions": partitions,
    "lake": lake,
    "tape": tape,
    "checkpoint": checkpoint,
    "startup": startup,
    "dev": dev,
    "peers": peers,
    "wire": wire,
    "wire_faults": wire_faults,
    "soak": soak,
    "swap": swap,
    "kafka": kafka,
    "stores": stores,
    "cluster": cluster,
}

# Not in "all": they start servers, and the first takes half an hour.
APART = ("cluster", "kafka", "stores")


def run(args: argparse.Namespace) -> int:
    """Exit status 1 if an answer was wrong."""
    names = [n for n in BENCHES if n not in APART] if args.name == "all" else [args.name]
    for name in names:
        if name not in BENCHES:
            raise OperatorError(f"no bench {name!r}; there are {', '.join(BENCHES)} and all")
    results = {}
    for name in names:
        results[name] = BENCHES[name](args.quick, **_options(args, name))
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
        if isinstance(value, dict) and all(isinstance(one, dict) for one in value.values()):
            _show_table(key, value)
        elif isinstance(value, dict):
            print(f"  {key}")
            for name, one in value.items():
                print(f"    {name:22s} {_text(one)}")
        elif isinstance(value, list):  # of runs with the same figures: a column each
            for name in value[0]:
                print(f"  {name:24s} " + " ".join(f"{_text(one[name]):>14s}" for one in value))
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


def _options(args: argparse.Namespace, name: str) -> dict[str, Any]:
    given: dict[str, Any] = {
        "rates": args.rate and (args.rate,),
        "wait": args.wait,
        "seconds": args.seconds,
        "sizes": args.sizes,
        "swaps": args.swaps,
        "rate": args.rate,
        "price": args.price,
        "only": args.only,
        "messages": args.messages,
    }
    if args.commit_every is not None:
        given["commit_every_ns"] = int(args.commit_every * 1e6)
    of = {
        "wire": {"rates", "wait", "seconds", "commit_every_ns"},
        "soak": {"wait", "seconds"},
        "checkpoint": {"sizes", "seconds"},
        "swap": {"rate", "wait", "swaps"},
        "kafka": {"rate", "messages"},
        "cluster": {"price", "only", "messages"},
    }
    takes = of.get(name, set())
    return {key: given[key] for key in takes if given[key] is not None}


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
