"""What a node is doing, for whoever looks: one JSON file beside its tape, renewed every second.

Everything that was lost, refused, late, held or not yet durable is a number here; `lines_of` says
them in words. Nothing in it is on the path of an event.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from onetape.codecs.arbitration import HELD_MESSAGES
from onetape.codecs.feed import refusals
from onetape.compiled.atomics import peek
from onetape.compiled.counts import CELLS, percentile_ns
from onetape.compiled.ticks import read_ticks
from onetape.engine.usage import usage
from onetape.records import OperatorError
from onetape.runtimes.edge.hiccup import HiccupMeter
from onetape.runtimes.edge.network import ASKED, Network
from onetape.runtimes.edge.node import EdgeNode
from onetape.tape.ring import DURABLE_OFFSET, HEAD, WRITTEN

FILE = "live.json"
_COUNTS = (
    "messages", "duplicates", "after_loss", "gaps", "held", "not_held", "conflicts", "heartbeats",
)  # fmt: skip
PERCENTS = (50, 90, 99, 99.9)
SILENT_S = 5.0  # a venue sends a heartbeat a second


def lines_silent(facts: dict[str, Any]) -> dict[str, str]:
    """{line: "no datagram for 12 s"} of the lines that should have brought something by now."""
    if all(feed["has_ended"] for feed in facts["sources"].values()):
        return {}
    said = {}
    for line in facts["lines"]:
        since_ns = line["heard_ns"] or facts["began_ns"]
        silent_s = (facts["ts_ns"] - since_ns) / 1e9
        if line["name"] != ASKED and silent_s >= SILENT_S:
            so_far = "" if line["heard_ns"] else " yet"
            said[line["name"]] = f"no datagram{so_far} for {silent_s:,.0f} s"
    return said


def unanswered_text(facts: dict[str, Any]) -> str:
    """What it means that nobody answers requests; empty where somebody does."""
    if not facts["unanswered"]:
        return ""
    waits_s = max(feed["patience_ns"] for feed in facts["sources"].values()) / 1e9
    return (
        f"asked {facts['unanswered']:,} times, no answer from {facts['rerequest']}: each gap waits "
        f"for its patience ({waits_s:g} s), then its messages are lost"
    )


def checkpoints_text(loop: dict[str, int]) -> str:
    """How many checkpoints were made, and how many are elsewhere too."""
    said = f"checkpoints: {loop['checkpoints']:,}, {loop['checkpoint_bytes'] / 1e6:,.1f} MB written"
    if loop["checkpoints_failed"]:
        said += f"; {loop['checkpoints_failed']:,} could not be written"
    if "uploads_failed" in loop:
        there = loop["uploaded_offset"]
        said += "; none uploaded" if there < 0 else f"; uploaded up to frame {there}"
        said += f", {loop['uploads_failed']:,} tries failed" if loop["uploads_failed"] else ""
    return said


def snapshot(
    node: EdgeNode,
    network: Network | None = None,
    hiccups: HiccupMeter | None = None,
    *,
    unanswered: int = 0,
) -> dict[str, Any]:
    """Counters of now; safe while the loop runs (each number by itself, not all at one moment).

    unanswered  requests for missing messages since the last answer
    """
    ts_ns = time.time_ns()
    counts = node.engine.counts()
    control = node.tape.control
    around = node.around
    latency = {"service": around.service, "to_sink": around.to_sink, "lag": around.lag}
    if hiccups is not None:
        latency["hiccup"] = hiccups.counts
    latency_ns: dict[str, Any] = {
        name: {f"p{percent:g}": percentile_ns(cells, percent) for percent in PERCENTS}
        for name, cells in latency.items()
    }
    if not around.lag.any():
        latency_ns["lag"] = None  # no event yet, or none of a time that is near this clock's
    sources = {
        source.name: feed_facts(node.engine.arrays[f"n{n}_feed"])
        for n, source in enumerate(node.plan.pipeline.sources)
        if source.feed
    }
    held = max((feed["held"] for feed in sources.values()), default=0)
    return {
        "pid": os.getpid(),
        "version": node.version,
        "ts_ns": ts_ns,
        "began_ns": ts_ns - (time.monotonic_ns() - node.began[1]),
        "events": counts.events,
        "rows": counts.rows,
        "late": counts.late,
        "late_at_windows": counts.late_at_windows,
        "ahead": counts.ahead,
        "dropped_matches": counts.dropped_matches,
        "bad_frames": counts.bad_frames,
        "bad_events": counts.bad_events,
        "state": usage(node.engine),
        "sources": sources,
        "lines": node.line_statistics(),
        "kernel_drops": network.drops() if network is not None else 0,
        "rerequest": network.rerequest if network is not None else None,
        "unanswered": unanswered,
        "tape": {
            "folder": str(node.folder),
            "frames": node.next_offset(),
            "durable_frames": int(peek(control, DURABLE_OFFSET)),
            "bytes": int(peek(control, HEAD)),
            "unwritten_bytes": int(peek(control, HEAD) - peek(control, WRITTEN)),
            "ring_bytes": len(node.tape.ring),
        },
        "queues": {
            "behind a gap": [held, HELD_MESSAGES, "messages"],
            "before the disk": [
                int(peek(control, HEAD) - peek(control, WRITTEN)),
                len(node.tape.ring),
                "bytes",
            ],
            "before Python": [*node.engine.undrained(), "rows of one output"],
        },
        "loop": node.statistics(),
        "latency_ns": latency_ns,
        "operators_ns": _operators(node),
    }


def _operators(node: EdgeNode) -> dict[str, dict[str, int]]:
    """How long one call of each operator takes, in the turns that were sampled."""
    ticks_then, then_ns = node.began
    ratio = (time.monotonic_ns() - then_ns) / max(read_ticks() - ticks_then, 1)
    engine = node.engine
    if "x_ticks" not in engine.arrays:
        return {}
    counts = engine.arrays["x_ticks"].reshape(-1, CELLS)
    found: dict[str, dict[str, int]] = {}
    for number, name in enumerate(engine.plan.node_names):
        if counts[number].any():
            label = name if name not in found else f"{name} {number}"
            found[label] = {
                f"p{percent:g}": round(percentile_ns(counts[number], percent) * ratio)
                for percent in PERCENTS
            }
    return found


def feed_facts(block: Any) -> dict[str, Any]:
    """What a feed has, lacks and refused."""
    feed = block[0]
    facts: dict[str, Any] = {name: int(feed[name]) for name in _COUNTS}
    return facts | {
        "next_sequence": int(feed["next_sequence"]),
        "missing": missing(feed),
        "lost": int(feed["gap_messages"]),
        "repaired": repaired(feed),
        "patience_ns": int(feed["patience_ns"]),
        "refused": refusals(block),
        "is_stale": bool(feed["stale"]),
        "is_gap": bool(feed["gap_open"]),
        "has_ended": bool(feed["ended"]) and not feed["gap_open"],
    }


def missing(feed: Any) -> int:
    """Messages that have not come; those that have, and wait behind them, are `held`."""
    behind = int(feed["highest_sequence"] - feed["next_sequence"])
    return max(behind - int(feed["held"]), 0)


def repaired(feed: Any) -> int | None:
    """Gaps of which nothing was lost; None where a new session has ended the count."""
    if int(feed["sessions"]) > 1:
        return None
    return max(int(feed["gaps"]) - int(feed["losses"]) - int(feed["gap_open"] != 0), 0)


def write(folder: Path, facts: dict[str, Any]) -> str:
    """Leave the snapshot beside the tape, whole or not at all. Says why it could not, or ""."""
    partial = folder / f".{FILE}.partial"
    try:
        partial.write_text(json.dumps(facts))
        partial.replace(folder / FILE)
    except OSError as why:  # a disk that is full ends nothing: the next one may be written
        return f"cannot write to {folder / FILE}: {why.strerror}; what others see is old"
    return ""


def read(folder: Path) -> dict[str, Any] | None:
    """The last snapshot of the node on this tape; None if there is none."""
    try:
        return json.loads((folder / FILE).read_text())  # type: ignore[no-any-return]
    except FileNotFoundError:
        return None


def of_node(folder: Path) -> dict[str, Any]:
    """As `read`; OperatorError if there is none."""
    facts = read(folder)
    if facts is None:
        raise OperatorError(
            f"no node has run on {folder}, or it still compiles; start one with onetape run "
            f"PIPELINE --tape {folder}, and --udp HOST:PORT or --file FILE"
        )
    return facts


def losses(facts: dict[str, Any]) -> dict[str, int]:
    """What did not become an event or a row, by name, without the zeros.

    docs/OPERATING.md says of each what happened.
    """
    sources = list(facts["sources"].values())
    lost = {
        "lost messages": sum(s["lost"] for s in sources),
        "missing now": sum(s["missing"] for s in sources),
        "refused": sum(sum(s["refused"].values()) for s in sources),
        "two copies differed (neither taken)": sum(s["conflicts"] for s in sources),
        "came after they were given up": sum(s["after_loss"] for s in sources),
        "too far ahead to hold (dropped)": sum(s["not_held"] for s in sources),
        "dropped by the kernel": facts["kernel_drops"],
        "datagrams cut short": sum(line["truncated"] for line in facts["lines"]),
        "late": facts["late"],
        "late at windows": facts["late_at_windows"],
        "too far ahead": facts["ahead"],
        "left out for want of room": sum(s["dropped"] for s in facts["state"].values()),
        "partial matches dropped": facts["dropped_matches"],
        "frames of no source": facts["bad_frames"],
        "events of no possible time": facts["bad_events"],
        "datagrams of rows not sent": facts["loop"]["unsent"],
        "datagrams of rows not on the tape": facts["loop"]["unlogged"],
    }
    return {name: count for name, count in lost.items() if count}
