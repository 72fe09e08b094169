"""Patterns, twice, from what docs/PATTERNS.md says; slow and obvious.

    Watch       one key, event after event, as a list of partial matches: with capacity and time
    all_ways    every match that begins at an event of a list, the preferred first, by looking ahead
    in_sql      which of them MATCH_RECOGNIZE gives, by backtracking: one beginning after the other

Both keep whole events and evaluate the conditions as they were written.
"""

from types import SimpleNamespace

UNSET = -(2**63)
FAR = 2**62


class Of:
    """`m.step.sum` and its like: of each field, over all events of the step."""

    def __init__(self, events, how):
        self.events, self.how = events, how

    def __getattr__(self, name):
        values = [getattr(e, name) for e in self.events]
        if not values:
            return UNSET
        if self.how in ("first", "last"):
            return values[0 if self.how == "first" else -1]
        known = [v for v in values if v != UNSET]
        return {"sum": sum, "min": min, "max": max}[self.how](known) if known else UNSET


class Nothing:
    """A step that has taken nothing."""

    count = 0

    def __getattr__(self, name):
        return UNSET


class One:
    """A step that takes one event."""

    count = 1

    def __init__(self, event):
        self.event = event

    def __getattr__(self, name):
        return getattr(self.event, name)


def seen(steps, taken, end_ns=None):
    """`m`: what a condition or emit is given of the events taken, [(step number, event)]."""
    m = SimpleNamespace(end_ns=end_ns)
    if taken:
        m.start_ns = min(max(taken[0][1].ts_event_ns, 0), FAR - 1)
    for k, step in enumerate(steps):
        events = [event for number, event in taken if number == k]
        if step.most > 1:
            of = {how: Of(events, how) for how in ("first", "last", "sum", "min", "max")}
            setattr(m, step.name, SimpleNamespace(count=len(events), **of))
        else:
            setattr(m, step.name, One(events[0]) if events else Nothing())
    return m


def holds(steps, when, event, taken):
    if when.__code__.co_argcount == 1:
        return bool(when(event))
    return bool(when(event, seen(steps, taken)))


# --- what may come next ---------------------------------------------------------------------------


def stands(taken):
    """(step number, how many events of it) of the last that was taken."""
    k = taken[-1][0]
    return k, sum(number == k for number, _ in taken)


def wishes(steps, taken):
    """Numbers of the steps it would take an event for, best first; 'end' if it may end there."""
    k, count = stands(taken)
    step = steps[k]
    if count < step.least:
        return [k]
    again = [k] if count < step.most else []
    later = beyond(steps, k + 1)
    return again + later if step.greedy else later + again


def beyond(steps, j):
    if j == len(steps):
        return ["end"]
    if steps[j].least:
        return [j]
    return [j, *beyond(steps, j + 1)] if steps[j].greedy else [*beyond(steps, j + 1), j]


def wanted(steps, taken):
    """Those wishes that are better than to end."""
    found = wishes(steps, taken)
    return found[: found.index("end")] if "end" in found else found


def may_end(steps, taken):
    return "end" in wishes(steps, taken)


def awaits_end(steps, taken):
    """The end needs that nothing absent comes until time is over."""
    k, count = stands(taken)
    return bool(k == len(steps) - 1 and steps[k].absent and count >= steps[k].least)


def is_settled(steps, taken):
    return may_end(steps, taken) and not wanted(steps, taken) and not awaits_end(steps, taken)


def is_strict(steps, taken, j):
    same = j == taken[-1][0]
    return steps[j].in_a_row if same else steps[j].how == "next"


def takes_any(steps, taken, j):
    return steps[j].how == "then_any" and not is_strict(steps, taken, j)


def is_broken(steps, taken, event):
    """Is this what may not come now?"""
    k, count = stands(taken)
    if count < steps[k].least:
        return False
    return any(holds(steps, absent.when, event, taken) for absent in steps[k].absent)


def looks(steps, taken, gap, event):
    """(steps that take the event, best first; is it passed over too; what else becomes of it)."""
    wants = wanted(steps, taken)
    open_ = [j for j in wants if not (gap and is_strict(steps, taken, j))]
    takes = [j for j in open_ if holds(steps, steps[j].when, event, taken)]
    broken = is_broken(steps, taken, event)
    if takes:
        return takes, not broken and any(takes_any(steps, taken, j) for j in takes), None
    if broken:
        return [], False, "lost" if awaits_end(steps, taken) else "over"
    waits = awaits_end(steps, taken) or any(not is_strict(steps, taken, j) for j in wants)
    return [], waits, None if waits else "over"


# --- one key, event after event -------------------------------------------------------------------


class Watch:
    """The partial matches of one key, the preferred first."""

    def __init__(self, pattern):
        self.pattern, self.steps = pattern, pattern.steps
        self.partials = []  # of SimpleNamespace(taken, gap, done, first, since_ns, at)
        self.events = self.dropped = 0

    def event(self, event, now_ns):
        """Takes an event; returns what the matches give that are told now."""
        steps = self.steps
        begins = holds(steps, steps[0].when, event, [])
        if not begins and not self.partials:
            return []
        self.events += 1
        kept = []
        for one in self.partials:
            if one.done:
                kept.append(one)
            elif now_ns >= self.end_ns(one):
                kept += self.ended(one)
            else:
                kept += self.after(one, event)
        if begins:
            since_ns = min(max(event.ts_event_ns, 0), FAR - 1)
            kept.append(self.made([], 0, event, self.events, since_ns, []))
        self.partials = kept
        return self.told(now_ns)

    def time(self, now_ns):
        kept = []
        for one in self.partials:
            over = not one.done and now_ns >= self.end_ns(one)
            kept += self.ended(one) if over else [one]
        self.partials = kept
        return self.told(now_ns)

    def due(self):
        """When the time of the first that is undecided is over."""
        return min((self.end_ns(p) for p in self.partials if not p.done), default=None)

    def end_ns(self, one):
        return min(one.since_ns + self.pattern.within_ns, FAR)

    def after(self, one, event):
        takes, passed, fate = looks(self.steps, one.taken, one.gap, event)
        made = [self.made(one.taken, j, event, one.first, one.since_ns, one.at) for j in takes]
        if passed:
            made.append(SimpleNamespace(**vars(one) | {"gap": True}))
        return made + (self.ended(one) if fate == "over" else [])

    def made(self, taken, j, event, first, since_ns, at):
        taken = [*taken, (j, event)]
        return SimpleNamespace(
            taken=taken, gap=False, done=is_settled(self.steps, taken), first=first,
            since_ns=since_ns, at=[*at, (j, self.events)],
        )  # fmt: skip

    def ended(self, one):
        if not may_end(self.steps, one.taken):
            return []
        one.done = True
        return [one]

    def told(self, now_ns):
        rule, _, aim = self.pattern.skip.partition(" ")
        told, every = [], any(step.how == "then_any" for step in self.steps)
        if rule == "none" and every:
            told = [p for p in self.partials if p.done]
        elif rule in ("none", "to_next"):
            for p in self.partials:
                best = next(q for q in self.partials if q.first == p.first)
                if p is best and p.done:
                    told.append(p)
            firsts = [p.first for p in told]
            self.partials = [p for p in self.partials if p.first not in firsts]
        else:
            while self.partials and self.partials[0].done:
                best = self.partials[0]
                told.append(best)
                resume = resumes(self.steps, best.at, rule, aim)
                self.partials = [
                    p for p in self.partials if p.first != best.first and p.first >= resume
                ]
        self.partials = [p for p in self.partials if not any(p is q for q in told)]
        if not (rule == "none" and every):  # what comes after a match of the same beginning
            done = [(n, p.first) for n, p in enumerate(self.partials) if p.done]
            self.partials = [
                p
                for n, p in enumerate(self.partials)
                if not any(m < n and first == p.first for m, first in done)
            ]
        too_many = max(len(self.partials) - self.pattern.at_most, 0)
        self.dropped += too_many
        if too_many and self.pattern.when_full == "halt":
            raise ValueError("at_most")
        if too_many and self.pattern.when_full == "drop_oldest":
            self.partials = self.partials[too_many:]
        elif too_many:
            self.partials = self.partials[:-too_many]
        return [self.pattern.makes(seen(self.steps, p.taken, now_ns)) for p in told]


def resumes(steps, at, rule, aim):
    """The number of the event from which on the next match may begin; at: [(step, number)]."""
    if rule == "past_last":
        return at[-1][1] + 1
    of_step = [number for k, number in at if steps[k].name == aim]
    if not of_step:
        return at[0][1] + 1
    return of_step[0] if rule == "to_first" else of_step[-1]


# --- looking ahead, as SQL does -------------------------------------------------------------------


def all_ways(pattern, events, i, taken=(), gap=False):
    """Every match that begins at events[i], the preferred first, as [(step, index)]."""
    steps = pattern.steps
    if not taken:
        if holds(steps, steps[0].when, events[i], []):
            yield from all_ways(pattern, events, i + 1, ((0, i),))
        return
    held = [(k, events[n]) for k, n in taken]
    if is_settled(steps, held):
        yield taken
        return
    since_ns = events[taken[0][1]].ts_event_ns
    if i == len(events) or events[i].ts_event_ns - since_ns >= pattern.within_ns:
        if may_end(steps, held):
            yield taken
        return
    takes, passed, fate = looks(steps, held, gap, events[i])
    for j in takes:
        yield from all_ways(pattern, events, i + 1, (*taken, (j, i)))
    if passed:
        yield from all_ways(pattern, events, i + 1, taken, True)
    elif fate == "over" and may_end(steps, held):
        yield taken


def in_sql(pattern, events):
    """ONE ROW PER MATCH: from each row on the preferred match, then AFTER MATCH SKIP."""
    rule, _, aim = pattern.skip.partition(" ")
    found, resume = [], 0
    every = rule == "none" and any(step.how == "then_any" for step in pattern.steps)
    for i in range(len(events)):
        ways = list(all_ways(pattern, events, i)) if i >= resume else []
        found += ways if every else ways[:1]
        if ways and rule not in ("none", "to_next"):
            resume = max(resumes(pattern.steps, ways[0], rule, aim), i + 1)
    return found
