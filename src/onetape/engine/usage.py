"""How many keys each node holds, how many it may, and what went for want of room."""

from typing import Any

from onetape.compiled.index import LIMIT
from onetape.engine.layout import DROPPED, EVICTED, FORGOTTEN, NODE_WORDS
from onetape.engine.spill import SPILLED


def usage(engine: Any) -> dict[str, dict[str, Any]]:
    """{node: used, limit, of what, and the counts}, of nodes that hold keys. Reads a few words:
    good while another thread runs the engine, each number by itself."""
    found: dict[str, dict[str, Any]] = {}
    words = engine.counts_words.reshape(-1, NODE_WORDS)
    for number, node in enumerate(engine.plan.pipeline.nodes):
        used = node.used(engine.arrays, f"n{number}")
        if used is None:
            continue
        limits = node.limits()
        spilled = engine.arrays.get(f"n{number}_spill")
        away = 0 if spilled is None else int(spilled[SPILLED])
        what = next(iter(limits), "keys")
        limit = (
            limits.get("keys") or limits.get(what) or int(engine.arrays[f"n{number}_index"][LIMIT])
        )
        found[node.name if node.name not in found else f"{node.name} {number}"] = {
            "used": used + away,
            "limit": limit,
            "of": what,
            "forgotten": int(words[number, FORGOTTEN]),
            "evicted": int(words[number, EVICTED]),
            "dropped": int(words[number, DROPPED]),
            "away": away,
        }
    return found


def line_of(name: str, facts: dict[str, Any]) -> str:
    """`Sums: 5 of 100 keys, 3 forgotten` for a person."""
    went = {
        "away": "put away",
        "forgotten": "forgotten",
        "evicted": "evicted",
        "dropped": "rows of others left out",
    }
    said = [f"{facts[n]:,} {words}" for n, words in went.items() if facts[n]]
    return ", ".join([f"{name}: {facts['used']:,} of {facts['limit']:,} {facts['of']}", *said])
