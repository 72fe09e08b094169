"""Patterns: a sequence of events of one key, declared step by step, as SQL's MATCH_RECOGNIZE.

    spoof = (ot.Pattern(by="account_id", within="2s", at_most=64, when_full="drop_oldest")
             .begin("wall", lambda e: e.action == ADD and e.qty_lots > 10 * e.level_median_lots)
             .then("fill", lambda e, m: e.action == FILL and e.side != m.wall.side)
             .then("pull", lambda e, m: e.action == CANCEL and e.order_id == m.wall.order_id)
             .emit(lambda m: Spoof(m.pull.ts_event_ns, m.wall.order_id, m.fill.order_id)))
    pipeline = ot.Pipeline(spoof=orders >> spoof)

`declare.py` is what a person writes; `reading.py` reads the conditions: what of which step they ask
for is all that is kept; `moves.py` says what a partial match may do next, and in which order;
`text.py`, with `standing_text.py`, writes that as a module of plain functions, the kernel of this
pattern; `runs.py` keeps the partial matches of a key; `matcher.py` is the node of the graph.
docs/PATTERNS.md has the semantics.
"""

from onetape.engine.patterns.declare import Pattern

__all__ = ["Pattern"]
