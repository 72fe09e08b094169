"""The part of a pattern's kernel that differs by step: what an event does to one partial match."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onetape.engine.patterns.declare import ENDLESS
from onetape.engine.patterns.moves import Move, Standing

if TYPE_CHECKING:
    from onetape.engine.patterns.text import Writing

KEEP = "last = keep(key, runs, base, last, at)"
END = "last = end(key, runs, base, last, at, is_match(r))"


def write_standing(w: Writing, standing: Standing) -> None:
    """The branch of `on_event` for a partial match that stands there."""
    text, moves = w.text, standing.moves
    asked = [_guarded(w, move) for move in moves]
    if len(moves) == 1 and not moves[0].passes:
        with text.block(f"if {asked[0]}"):
            text.add(f"{_took(w, moves[0])}(r, e, key.events)", KEEP)
        _write_untaken(w, standing, "elif")
        return
    if not moves:
        _write_untaken(w, standing, "if")
        return
    names = [f"takes{i}" for i in range(len(moves))]
    text.add(*[f"{name} = {condition}" for name, condition in zip(names, asked)])
    both = [name for name, move in zip(names, moves) if move.passes]
    if both:
        absent = _absent(w, standing)
        text.add(f"passes = ({' or '.join(both)})" + (f" and not ({absent})" if absent else ""))
    with text.block(f"if {' or '.join(names)}"):
        later = [*names, *(["passes"] if both else [])]
        for i, move in enumerate(moves):
            with text.block(f"if {names[i]}"):
                rest = " or ".join(later[i + 1 :])
                copies = f"copy_of(key, runs, base, at) if {rest} else at" if rest else "at"
                text.add(
                    f"cell = {copies}",
                    f"{_took(w, move)}(row(runs, base + cell - 1), e, key.events)",
                    "last = keep(key, runs, base, last, cell)",
                )
        if both:
            with text.block("if passes"):
                text.add("r.gap = 1", KEEP)
    _write_untaken(w, standing, "elif")


def _write_untaken(w: Writing, standing: Standing, head: str) -> None:
    """The event is not taken: it breaks the match, is passed over, or ends it."""
    text = w.text
    absent = _absent(w, standing)
    if absent:
        with text.block(f"{head} {absent}"):
            text.add(
                "let_go(key, runs, base, at)" if standing.awaits_end else END,
            )
        head = "elif"
    waits = [_counted(m) for m in standing.moves if not m.strict]
    if standing.awaits_end:
        least = standing.step.least
        waits.append(f"r.count >= {least}" if least > 1 else "")
    if not waits:
        lines, other = [END], None
    elif "" in waits:
        lines, other = ["r.gap = 1", KEEP], None
    else:
        lines, other = ["r.gap = 1", KEEP], " or ".join(f"({w})" for w in dict.fromkeys(waits))
    if other is None:
        if head == "if":
            text.add(*lines)
        else:
            with text.block("else"):
                text.add(*lines)
        return
    with text.block(f"{head} {other}"):
        text.add(*lines)
    with text.block("else"):
        text.add(END)


def _absent(w: Writing, standing: Standing) -> str:
    asked = " or ".join(w.asks(a.name) for a in standing.step.absent)
    if asked and standing.step.least > 1:
        return f"r.count >= {standing.step.least} and ({asked})"
    return asked


def _counted(move: Move) -> str:
    """The numbers of events with which a move is open."""
    parts = [f"r.count >= {move.at_least}"] * (move.at_least > 1)
    parts += [f"r.count < {move.fewer_than}"] * (move.fewer_than < ENDLESS)
    return " and ".join(parts)


def _guarded(w: Writing, move: Move) -> str:
    parts = [_counted(move), "r.gap == 0" if move.strict else ""]
    asked = w.asks(w.steps[move.to].name)
    return " and ".join([*filter(None, parts), f"bool({asked})"])


def _took(w: Writing, move: Move) -> str:
    return f"{'more' if move.more else 'take'}_{w.steps[move.to].name}"
