"""`onetape top TAPE`: what a running node does, renewed every second."""

import argparse
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from onetape.runtimes.edge import live
from onetape.runtimes.edge.network import ASKED
from onetape.tape.inspect import is_open

DESCRIPTION = """\
Watch a node that runs on the tape in TAPE (`onetape run ... --tape TAPE`): rates, gaps and
everything else that was lost, refused or late, how far the disk is behind, and latencies:

  lag       from the venue's time of an event to its arrival (both clocks count)
  service   from a frame on the tape to all its rows
  to sink   from the arrival of a frame to the leaving of its rows
  hiccup    how much longer than asked this machine made a thread sleep

and, indented, one call of each operator, in every 64th frame. `state` is how many keys each node
holds and may hold, and what it forgot (not seen for its ttl), evicted or left out for want of room.
Of the messages behind a gap, `missing` have not come, `held` have and wait for them. A line without
a datagram for five seconds is silent: a venue sends a heartbeat a second. Ctrl-C ends it.
"""
STALE_S = 5
_COUNTED = ("messages", "gaps", "repaired", "missing", "held", "lost", "duplicates")


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "top",
        help="watch a running node",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  onetape top tape/",
    )
    parser.add_argument("tape", type=Path, metavar="TAPE", help="folder of the node's tape")
    parser.add_argument("--once", action="store_true", help="show it once")
    parser.add_argument("--json", action="store_true", help="print it once, as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    facts = live.of_node(args.tape)
    if args.json:
        print(json.dumps(facts))
        return 0
    from rich.console import Console
    from rich.live import Live

    console = Console()
    if args.once or not console.is_terminal:
        console.print(table(facts, None))
        return 0
    with suppress(KeyboardInterrupt), Live(table(facts, None), console=console, screen=True) as on:
        while True:
            time.sleep(1)
            before, facts = facts, live.of_node(args.tape)
            on.update(table(facts, before))
    return 0


def table(facts: dict[str, Any], before: dict[str, Any] | None) -> Any:
    """The whole screen: a rich renderable."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    age_s = (time.time_ns() - facts["ts_ns"]) / 1e9
    ended = ""
    if age_s >= STALE_S:  # a node that ends waits for who is to have its rows
        does = "it is busy or waits" if is_open(facts["tape"]["folder"]) else "it has ended"
        ended = f"  not renewed for {age_s:,.0f} s: {does}"
    rate = _rate(facts, before, "events")
    version = f"  version {facts['version'][:12]}" if facts.get("version") else ""
    head = Text(
        f"onetape {facts['tape']['folder']}  {facts['events']:,} events{rate}{version}{ended}"
    )
    latency = Table("latency, us", *[f"p{p:g}" for p in live.PERCENTS], box=None)
    for name, cells in facts["latency_ns"].items():
        if cells and any(cells.values()):
            values = [f"{cells[f'p{p:g}'] / 1000:,.1f}" for p in live.PERCENTS]
            latency.add_row(name.replace("_", " "), *values)
    for name, cells in facts["operators_ns"].items():
        values = [f"{cells[f'p{p:g}'] / 1000:,.2f}" for p in live.PERCENTS]
        latency.add_row(f"  {name}", *values, style="dim")
    silent = live.lines_silent(facts) if age_s < STALE_S else {}
    lines = Table("line", "datagrams", "bytes", "last", "state", box=None)
    for line in facts["lines"]:
        heard_ns, name = line["heard_ns"], line["name"]
        last = f"{(facts['ts_ns'] - heard_ns) / 1e9:,.1f} s ago" if heard_ns else "not heard yet"
        state = Text(f"silent: {silent[name]}" if name in silent else "", style="bold red")
        lines.add_row(name, f"{line['packets']:,}", f"{line['bytes']:,}", last, state)
    feeds = Table("feed", *_COUNTED, "state", box=None)
    for name, feed in facts["sources"].items():
        numbers = ["?" if feed[k] is None else f"{feed[k]:,}" for k in _COUNTED]
        word = state_of(facts, feed)
        feeds.add_row(name, *numbers, Text(word, style="" if word == "whole" else "bold red"))
    rows = Table("output", "rows", box=None)
    for name, count in facts["rows"].items():
        rows.add_row(name, f"{count:,}")
    keys = Table("state", "used", "of at most", "", "forgotten", "evicted", "left out", box=None)
    for name, used in facts["state"].items():
        numbers = [f"{used[n]:,}" for n in ("used", "limit")]
        went = [f"{used[n]:,}" for n in ("forgotten", "evicted", "dropped")]
        full = "bold red" if used["used"] >= used["limit"] else ""
        keys.add_row(name, *numbers, used["of"], *went, style=full)
    lost = ", ".join(f"{name} {count:,}" for name, count in live.losses(facts).items())
    tape = facts["tape"]
    behind = tape["frames"] - tape["durable_frames"]
    disk = f"tape {tape['frames']:,} frames, {tape['bytes']:,} bytes; {behind:,} not yet durable"
    counted = ("waits_output", "waits_tape", "waits_disk_full", "asked")
    waits = {name: facts["loop"][name] for name in counted if facts["loop"][name]}
    queues = "; ".join(
        f"{name} {now:,} of {most:,} {what}" for name, (now, most, what) in facts["queues"].items()
    )
    held = "".join(f"; {name.replace('_', ' ')} {count:,}" for name, count in waits.items())
    notes = [disk + held, f"queues: {queues}"]
    notes.append(live.checkpoints_text(facts["loop"]))
    notes.append(live.unanswered_text(facts))
    if facts["events"] and facts["latency_ns"]["lag"] is None:
        notes.insert(0, "lag: the event time is not this clock's")
    return Group(
        head, Text(), feeds, Text(), lines, Text(), rows, Text(), keys, Text(), latency, Text(),
        *(Text(note) for note in notes if note), Text(lost or "nothing lost, refused or late"),
    )  # fmt: skip


def state_of(facts: dict[str, Any], feed: dict[str, Any]) -> str:
    """What a feed is, in a word or two."""
    silent = live.lines_silent(facts)
    heard = [line for line in facts["lines"] if line["name"] not in (*silent, ASKED)]
    words = ["stale"] if feed["is_stale"] else []
    words += ["waiting"] if feed["is_gap"] else []
    words += ["silent"] if silent and not heard else []
    return ", ".join(words) or "whole"


def _rate(facts: dict[str, Any], before: dict[str, Any] | None, what: str) -> str:
    if before is None or facts["ts_ns"] <= before["ts_ns"]:
        return ""
    seconds = (facts["ts_ns"] - before["ts_ns"]) / 1e9
    return f", {(facts[what] - before[what]) / seconds:,.0f} a second"
