"""What a partial match may do with an event, and which it prefers: decided when a pattern is bound.

A match that stands at a step, having taken some events there, may take one more of it, or go on to
a later step, over such as may take nothing. A greedy step is preferred to what follows it, any
other comes after it. What comes after "it is a match now" in this order is never done.
"""

from dataclasses import dataclass

from onetape.engine.patterns.declare import ENDLESS, Step


@dataclass(frozen=True)
class Move:
    """Take an event for the step `to`: as the first of it, or one more.

    strict     only the very next event
    passes     the event is passed over as well, in another match
    at_least   events the step it stands at must have
    fewer_than and must not have
    """

    to: int
    more: bool
    strict: bool
    passes: bool
    at_least: int = 0
    fewer_than: int = ENDLESS


@dataclass(frozen=True)
class Standing:
    """A step as one that a match may stand at.

    moves       in the order of preference
    matches_at  with so many events it would be a match if it ended; None: never
    settles_at  with so many it is one, and nothing else is preferred to that; None: it goes on
    awaits_end  it is one when time is over, if nothing absent came
    """

    step: Step
    moves: tuple[Move, ...]
    matches_at: int | None
    settles_at: int | None
    awaits_end: bool


def standings(steps: tuple[Step, ...]) -> list[Standing]:
    """One a step."""
    return [_standing(steps, k) for k in range(len(steps))]


def _standing(steps: tuple[Step, ...], k: int) -> Standing:
    step = steps[k]
    exits = _exits(steps, k + 1)
    may_end = None in exits
    loops: list[int | None] = [k] * (step.most > 1)
    order = loops + exits if step.greedy else exits + loops
    before = order[: order.index(None)] if may_end else order
    moves = []
    for to in before if step.least < 2 or k in before else [*before, k]:
        if to is None:
            continue
        if to == k:  # while more are needed, one more is taken in any case
            fewer = step.most if k in before else step.least
            passes = step.how == "then_any" and not step.in_a_row
            moves.append(Move(k, True, step.in_a_row, passes, fewer_than=fewer))
        else:
            how = steps[to].how
            least = step.least if step.least > 1 else 0
            moves.append(Move(to, False, how == "next", how == "then_any", at_least=least))
    matches_at = max(step.least, 1) if may_end else None
    settles_at = matches_at
    if k in before:
        settles_at = step.most if step.most < ENDLESS and may_end else None
    if step.absent or any(to != k for to in before):
        settles_at = None
    awaits_end = k == len(steps) - 1 and bool(step.absent)
    return Standing(step, tuple(moves), matches_at, settles_at, awaits_end)


def _exits(steps: tuple[Step, ...], j: int) -> list[int | None]:
    """Later steps that may be next, in order; None is the end of the match."""
    if j == len(steps):
        return [None]
    if steps[j].least > 0:
        return [j]
    later = _exits(steps, j + 1)
    return [j, *later] if steps[j].greedy else [*later, j]
