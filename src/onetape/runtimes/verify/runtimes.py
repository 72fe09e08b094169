"""`onetape verify PIPELINE TAPE --runtimes edge,batch,flink,sail,spark`: one input, one answer.

Each runtime runs all of the input. Digests of outputs do not depend on how many shards an engine
had; digests of state are compared among those that had as many.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from onetape.records import OperatorError
from onetape.records.declare import copied, raw_rows
from onetape.runtimes import environments
from onetape.runtimes.progress import Progress
from onetape.runtimes.run.options import given
from onetape.runtimes.settings import load_with_settings
from onetape.runtimes.verify.command import EMPTY, no_events
from onetape.runtimes.verify.options import check_runtimes
from onetape.runtimes.verify.ways import (
    Ran,
    Recorded,
    edge,
    in_shards,
    on_flink,
    on_spark,
    whole,
)


def run(args: argparse.Namespace) -> int:
    check_runtimes(args)
    pipeline = load_with_settings(args)
    absent = {name: why for name in args.runtimes if (why := lacks(name))}
    say: Callable[[str], None] = (lambda _: None) if args.json else print
    for why in absent.values():
        say(f"left out: {why}")
    folder = Path(tempfile.mkdtemp(prefix="onetape-verify-"))
    try:
        recorded = Recorded(
            pipeline,
            args.tape,
            given(args.file),
            args.date,
            args.shards,
            folder,
            Progress(quiet=args.json),
        )
        names = [name for name in args.runtimes if name not in absent]
        answers, differences = compare(recorded, names, say)
        none = ""
        if answers and not any(ran.events for ran in answers):
            none = no_events("the input", recorded.inputs().runs())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    equal = not differences and none in ("", EMPTY)
    verdict = f"all equal: {len(answers)} ways" if equal else "NOT EQUAL"
    if none and not differences:
        verdict = none
    if len(answers) < 2:
        verdict = "nothing was compared"
    say("\n".join([*differences, verdict]))
    if args.json:
        facts = {
            "equal": equal and len(answers) > 1,
            "answers": [told(ran) for ran in answers],
            "absent": absent,
            "differences": differences,
        }
        print(json.dumps(facts))
    is_enough = args.skip_absent or not absent
    return 0 if equal and is_enough and len(answers) > 1 else 1


def lacks(name: str) -> str:
    """What to do to get an engine; '' when it is there."""
    try:
        if name == "flink":
            from onetape.runtimes.flink.environment import find

            find()
        elif name in ("sail", "spark"):
            environments.find(name)
    except OperatorError as why:
        return str(why)
    return ""


def compare(
    recorded: Recorded, names: list[str], say: Callable[[str], None]
) -> tuple[list[Ran], list[str]]:
    """(what each came to, what differs)"""
    ways: dict[str, list[Callable[[Recorded], Ran]]] = {
        "edge": [edge],
        "batch": [whole, in_shards] if recorded.shards > 1 else [whole],
        "flink": [on_flink],
        "sail": [partial(on_spark, "sail")],
        "spark": [partial(on_spark, "spark")],
    }
    answers: list[Ran] = []
    for way in (way for name in names for way in ways[name]):
        ran = way(recorded)
        recorded.progress.close()
        answers.append(ran)
        digests = "  ".join(f"{name} {digest[:8]}" for name, digest in ran.digests.items())
        said = f"{ran.way:18s} {ran.events:>12,} events {ran.elapsed_s:>9.2f} s"
        say(f"{said}  state {told_state(ran)[:8]}  {digests}")
    return answers, [line for a, b in pairwise(answers) for line in differences_of(a, b)] + [
        line for line in _states(answers)
    ]


def differences_of(a: Ran, b: Ran) -> list[str]:
    """A line an output whose digests differ: the first row that does."""
    names = sorted(set(a.digests) | set(b.digests))
    found = [_difference(n, a, b) for n in names if a.digests.get(n) != b.digests.get(n)]
    if a.events != b.events:
        found.append(f"{a.way} took {a.events:,} events, {b.way} {b.events:,}")
    return found


def told(ran: Ran) -> dict[str, Any]:
    """For --json."""
    return {
        "way": ran.way,
        "events": ran.events,
        "elapsed_s": round(ran.elapsed_s, 6),
        "digests": ran.digests,
        "state_digests": {str(shard): digest for shard, digest in ran.state.items()},
    }


def told_state(ran: Ran) -> str:
    """One word for the state of all shards."""
    return "+".join(digest[:8] for _, digest in sorted(ran.state.items()))


def _states(answers: list[Ran]) -> Iterator[str]:
    """Lines on states that differ, among ways with as many shards."""
    first: dict[int, Ran] = {}
    for ran in answers:
        known = first.setdefault(len(ran.state), ran)
        for shard, digest in ran.state.items():
            if digest != known.state.get(shard):
                of = f" of shard {shard}" if len(ran.state) > 1 else ""
                yield f"the state{of} differs between {known.way} and {ran.way}"


def _difference(name: str, a: Ran, b: Ran) -> str:
    """Say where two ways part: the first row, by instrument, that differs, and what caused it."""
    rows_a, from_a = _collected(name, a)
    rows_b, from_b = _collected(name, b)
    count = min(len(rows_a), len(rows_b))
    differ = np.zeros(0, bool)
    if count:
        differ = _bytes(rows_a[:count]) != _bytes(rows_b[:count])
        differ |= _bytes(_causes(from_a[:count])) != _bytes(_causes(from_b[:count]))
    if not differ.any():
        if len(rows_a) == len(rows_b):
            return f"{name}: the digests of {a.way} and {b.way} differ, and all rows are equal now"
        (longer, origins) = (a.way, from_a) if len(rows_a) > count else (b.way, from_b)
        return (
            f"{name}: {longer} has {abs(len(rows_a) - len(rows_b)):,} rows more, the first caused "
            f"by sequence {origins[count]['sequence']}"
        )
    at = int(np.argmax(differ))
    same = _bytes(rows_a[at : at + 1]) == _bytes(rows_b[at : at + 1])
    shown = [_causes(from_a), _causes(from_b)] if same.all() else [rows_a, rows_b]
    return (
        f"{name} differs between {a.way} and {b.way} at row {at} by instrument, caused by sequence "
        f"{from_a[at]['sequence']}:\n  {a.way}: {shown[0][at]}\n  {b.way}: {shown[1][at]}"
    )


def _collected(name: str, ran: Ran) -> tuple[Any, Any]:
    """(rows, origins) of an output; by instrument, where it has one, and each one's in order."""
    steps = [
        (copied(step[1]), step[2].copy())  # views of rings
        for step in ran.rows()
        if isinstance(step, tuple) and step[0] == name
    ]
    if not steps:
        return np.empty(0, np.int64), np.empty(0, [("sequence", "<i8"), ("tape_offset", "<i8")])
    of = steps[0][0].dtype
    rows = np.concatenate([raw_rows(step[0]) for step in steps])
    origins = np.concatenate([step[1] for step in steps])
    if "instrument_id" in (of.names or ()):
        order = np.argsort(rows.view(of)["instrument_id"], kind="stable")
        rows, origins = rows[order], origins[order]
    return rows.view(of), origins


def _causes(origins: Any) -> Any:
    """What a row's identity is made of: its place on the tape is not."""
    kept = origins.copy()
    kept["tape_offset"] = 0
    return kept


def _bytes(rows: Any) -> Any:
    """Each row as one value that can be compared."""
    return np.ascontiguousarray(rows).view(f"V{rows.dtype.itemsize}").reshape(len(rows))
