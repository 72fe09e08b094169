"""What a run came to besides its rows: everything that was missing, refused, late or odd.

One account for every runtime: `run` prints it and has it in its JSON. Nothing is left out in
silence: a count that is not zero is said in words.
"""

from typing import Any

from onetape.codecs.feed import refusals
from onetape.engine.engine import Engine
from onetape.engine.usage import line_of, usage
from onetape.market.grid import refused_by_grids
from onetape.market.words import counted

FEW = 1 << 62  # messages, where nobody counted them


def account(engine: Engine) -> dict[str, Any]:
    """Counts of all that did not become an event or a row as it came."""
    counts = engine.counts()
    feeds = [
        engine.arrays[f"n{number}_feed"]
        for number, source in enumerate(engine.plan.pipeline.sources)
        if source.feed
    ]
    refused: dict[str, int] = {}
    for feed in feeds:
        for reason, count in refusals(feed).items():
            refused[reason] = refused.get(reason, 0) + count
    refused |= refused_by_grids(engine)
    return {
        "gaps": sum(int(feed[0]["gaps"]) for feed in feeds),
        "gap_messages": sum(int(feed[0]["gap_messages"]) for feed in feeds),
        "duplicates": sum(int(feed[0]["duplicates"]) for feed in feeds),
        "late": counts.late,
        "late_at_windows": counts.late_at_windows,
        "ahead": counts.ahead,
        "dropped_matches": counts.dropped_matches,
        "refused": refused,
        "bad_frames": counts.bad_frames,
        "bad_events": counts.bad_events,
        "book": counted(engine),
        "state": usage(engine),
    }


def lines_of(facts: dict[str, Any]) -> list[str]:
    """The account for a person: one line, and one more for each kind of trouble."""
    named = {
        "gaps": "gaps",
        "gap_messages": "messages lost in them",
        "duplicates": "duplicates",
        "late": "late",
        "late_at_windows": "late at windows",
        "ahead": "too far ahead",
        "dropped_matches": "partial matches dropped",
        "bad_frames": "bad frames",
        "bad_events": "bad events",
    }
    odd = [f"{facts[name]:,} {words}" for name, words in named.items() if facts[name]]
    if letters := facts.get("dead_letters"):
        odd.append(f"{letters:,} dead letters, on topic {facts['dead_letters_topic']}")
    lines = [f"  {', '.join(odd) or 'no gaps, nothing late, no bad events'}"]
    if 2 * facts["late"] > facts.get("messages", FEW):
        lines.append(
            "  most events are late: time had gone beyond them, and windows left them out; is the "
            "feed of another day (--date), are its sources years apart, or are the partitions of a "
            "topic, which are read as they come (lateness= of the source waits for them)?"
        )
    if facts["refused"]:
        lines.append(f"  refused: {_listed(facts['refused'])}")
    if facts["book"]:
        lines.append(f"  the book could not take {_listed(facts['book'])}")
    for name, used in facts["state"].items():
        if used["forgotten"] or used["evicted"] or used["dropped"]:
            lines.append(f"  {line_of(name, used)}")
    if facts.get("skipped_packets"):
        lines.append(f"  packets of the capture left out: {_listed(facts['skipped_packets'])}")
    return lines


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
