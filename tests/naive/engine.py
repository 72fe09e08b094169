"""A pipeline run one event at a time, in plain Python: state in dicts, timers in a dict.

It reads the graph (nodes, streams, what an operator declares) and nothing of the planner or the
driver. Slow: all timers are looked at for the next one that is due.

    made = run(pipeline, steps)      # steps as in tests/engine/running.py
    made.rows["vwap"], made.origins["vwap"]

The rules it follows, as the documentation has them:
- One event goes depth-first through the whole graph before the next; at each stream first the
  pipeline's outputs, then the nodes, in the order of the pipeline.
- A source's watermark is its newest event less the lateness; a tick raises it to the time less the
  idle limit; the end raises it past everything. Time is the least of all sources.
- Before an event is processed everything that is due by then fires: in order of time, then of the
  nodes, then of the keys. What an event makes due fires right after it. A timer set to the past
  fires at once, and finds time where it was: what it makes is late for windows that have ended.
- Rows that are put in the order of event time go on one by one, each when the watermark is past it;
  to what stands behind, time is then that of the row.
"""

from collections import OrderedDict
from types import SimpleNamespace
from typing import Any, NamedTuple

from tests.naive.patterns import Watch

from onetape.engine.batches import Batches
from onetape.engine.columns.interval_node import IntervalJoin
from onetape.engine.graph import Merge
from onetape.engine.in_order import InOrder
from onetape.engine.patterns.matcher import Matcher
from onetape.engine.sessions import Session
from onetape.engine.window import Window

UNSET = -(2**63)
NEVER = 2**63 - 1
FAR = 2**62
LATE, EARLY = 1, 64
EVENT_ROOT, TIMER_ROOT = 0, 1


class Made(NamedTuple):
    rows: dict[str, list[Any]]
    origins: dict[str, list[Any]]  # (sequence, key, index, node, source, root)
    late: int  # at the sources
    late_at_windows: int
    ahead: int
    dropped_matches: int
    states: dict[int, dict[int, dict[str, Any]]]  # by node and key
    dropped: int
    evicted: int
    forgotten: int


class Emitter:
    """Collects what a handler makes."""

    def __init__(self, of):
        self.of = of
        self.made = []

    def append(self, record):
        self.made.append(record)

    def row(self):
        fields = {
            name: 0 if field.length is None else [0] * field.length
            for name, field in self.of.fields.items()
        }
        self.made.append(SimpleNamespace(**fields))
        return self.made[-1]

    def records(self):
        return [self.of(**{n: getattr(m, n) for n in self.of._fields}) for m in self.made]


def run(pipeline, steps):
    naive = Naive(pipeline)
    for step in steps:
        if hasattr(step, "rows"):
            for event in step.rows:
                naive.event(step.source, event)
        elif hasattr(step, "now_ns"):
            naive.tick(step.source, step.now_ns)
        else:
            naive.end(step.source)
    naive.forget_unseen(naive.reached)
    return Made(
        naive.rows, naive.origins, naive.late, naive.late_at_windows, naive.ahead,
        sum(watch.dropped for watch in naive.watches.values()),
        {number: states for number, states in naive.states.items() if states},
        naive.dropped, naive.evicted, naive.forgotten,
    )  # fmt: skip


class Naive:
    def __init__(self, pipeline):
        self.pipeline = pipeline
        self.watermarks = [UNSET for _ in pipeline.sources]
        self.now = UNSET  # the least of them; it never goes back
        self.seen = [0 for _ in pipeline.sources]
        self.rows = {name: [] for name in pipeline.outputs}
        self.origins = {name: [] for name in pipeline.outputs}
        self.late = self.late_at_windows = self.ahead = 0
        self.states = {}  # node number: {key: {name: value}}
        self.timers = {}  # (node number, key): when
        self.panes = {}  # (node number, key): {pane: [events]}
        self.sessions = {}  # (node number, key): [[events]], of each open session in order
        self.batches = {}  # (node number, key): [events]
        self.kept = {}  # (node number, key): {"left": [[event, has it had a partner?]], "right": }
        self.waiting = {}  # node number: [(what it is ordered by, input, event)]
        self.arrived = 0
        self.told = {}  # (node number, key): (due, how many rows were made there at that time)
        self.watches = {}  # (node number, key): the partial matches of a pattern
        self.seen_by = {}  # (node number, key): {pane: [events]}, all there ever were
        self.changed = {}  # (node number, key): panes with an event that has not been told
        self.reached = UNSET  # time as the roots have seen it: never goes back
        self.last_seen = {}  # node number: {key: time of the last event}, oldest first
        self.began = {}  # node number: the first time that was known
        self.dropped = self.evicted = self.forgotten = 0
        self.root = None  # what caused the rows that are being made

    # --- time -------------------------------------------------------------------------------------

    def event(self, source, event):
        node = self.pipeline.sources[source]
        if self.seen[source] == 0:  # until now its time was the receiver's clock
            first = min(self.watermarks[source], event.ts_event_ns - node.lateness_ns)
            self.watermarks[source] = first
            if not any(self.seen):
                self.now = UNSET
        late = event.ts_event_ns < self.watermarks[source]
        self.late += late
        self.raise_watermark(source, event.ts_event_ns - node.lateness_ns)
        self.fire()
        self.seen[source] += 1
        self.reached = self.now
        self.root = SimpleNamespace(
            kind=EVENT_ROOT, sequence=self.seen[source], key=0, source=source, late=late,
            time=self.reached, index=0,
        )  # fmt: skip
        self.push(node, "events", event)
        self.fire()

    def tick(self, source, now_ns):
        self.raise_watermark(source, now_ns - self.pipeline.sources[source].idle_ns)
        self.fire()

    def end(self, source):
        self.raise_watermark(source, FAR)
        self.fire()

    def raise_watermark(self, source, to_ns):
        self.watermarks[source] = max(self.watermarks[source], to_ns)
        self.now = max(self.now, min(self.watermarks))

    def fire(self):
        """Everything due by now, one after the other; what one makes due may come next."""
        while self.timers:
            due, number, key = min((due, *where) for where, due in self.timers.items())
            if due > self.now:
                return
            del self.timers[number, key]
            self.reached = max(self.reached, due)
            self.root = SimpleNamespace(
                kind=TIMER_ROOT, sequence=due, key=key, source=0, late=False, time=self.reached,
                index=0,
            )  # fmt: skip
            node = self.pipeline.nodes[number]
            if isinstance(node, Window):
                self.close_window(node, number, key, due)
            elif isinstance(node, Session):
                self.close_session(node, number, key, due)
            elif isinstance(node, InOrder):
                self.go_on(node, number, due)
            elif isinstance(node, IntervalJoin):
                self.let_go(node, number, key, due)
            elif isinstance(node, Matcher):
                self.tell_matches(node, number, key, self.watches[number, key].time(due))
            elif self.is_timed_out(number, key):
                self.forget(number, key)
                self.forgotten += 1
            else:
                self.states[number][key]["wake_ns"] = UNSET
                self.call(node, number, node.spec.timer, due, key, over=self.now >= FAR)

    # --- events -----------------------------------------------------------------------------------

    def push(self, node, output, event):
        """One row of a stream to all who take it."""
        for name, stream in self.pipeline.outputs.items():
            if stream.node is node and stream.output == output:
                self.emit(name, node, event)
        for number, taker in enumerate(self.pipeline.nodes):
            for name, stream in taker.inputs:
                if stream.node is not node or stream.output != output:
                    continue
                if isinstance(taker, Merge):
                    self.push(taker, "merged", event)
                elif isinstance(taker, Window):
                    self.add_to_window(taker, number, event)
                elif isinstance(taker, Session):
                    self.add_to_session(taker, number, event)
                elif isinstance(taker, Batches):
                    self.add_to_batch(taker, number, event)
                elif isinstance(taker, InOrder):
                    self.wait(taker, number, name, event)
                elif isinstance(taker, IntervalJoin):
                    self.join(taker, number, name, event)
                elif isinstance(taker, Matcher):
                    self.at_pattern(taker, number, event)
                else:
                    self.at_input(taker, number, name, event)

    def emit(self, name, node, event):
        root = self.root
        number = self.pipeline.nodes.index(node)
        self.rows[name].append(tuple(event))
        self.origins[name].append(
            (root.sequence, root.key, root.index, number, root.source, root.kind)
        )
        root.index += 1

    def at_input(self, node, number, name, event):
        spec = node.spec
        key = None if spec.state is None else getattr(event, spec.key)
        if key is not None:
            if not self.is_kept(node, number, key):
                return
            states = self.states.setdefault(number, {})
            if key not in states:
                states[key] = fresh(spec.state, spec.initial)
        self.call(node, number, spec.inputs[name], event, key)

    def call(self, node, number, handler, event, key, over=False):
        """Call a handler with its state, then pass on what it made."""
        spec = node.spec
        state = None if key is None else SimpleNamespace(**self.states[number][key])
        emitters = {o.name: Emitter(o.of) for o in handler.outputs}
        settings = {name: self.setting(node, name) for name in handler.settings}
        if isinstance(spec.source, type):
            arguments = [state, event]
        else:
            arguments = [event] if state is None else [event, state]
        if handler.returns:
            made = handler.function(*arguments, **settings)
            if made is not None:
                emitters[handler.outputs[0].name].append(made)
        else:
            handler.function(*arguments, *emitters.values(), **settings)
        if over:  # a timer that was due at the end of time sets no further one
            state.wake_ns = UNSET
        if key is not None:
            self.states[number][key] = vars(state)
            if spec.timer is not None:
                self.timers.pop((number, key), None)
                if state.wake_ns not in (UNSET, NEVER):
                    self.timers[number, key] = state.wake_ns
        for name, emitter in emitters.items():
            for record in emitter.records():
                self.push(node, name, record)

    def setting(self, node, name):
        return node.settings[name]

    # --- patterns ---------------------------------------------------------------------------------

    def at_pattern(self, node, number, event):
        key = getattr(event, node.key)
        watch = self.watches.setdefault((number, key), Watch(node.pattern))
        time = min(max(event.ts_event_ns, self.root.time, 0), FAR)
        self.tell_matches(node, number, key, watch.event(event, time))

    def tell_matches(self, node, number, key, rows):
        due = self.watches[number, key].due()
        self.timers.pop((number, key), None)
        if due is not None and node.is_timed():
            self.timers[number, key] = due
        for row in rows:
            self.push(node, "matches", row)

    # --- keys -------------------------------------------------------------------------------------

    def is_kept(self, node, number, key):
        """Is the key one that is known, or may be? Then it is the newest."""
        seen, now = self.last_seen.setdefault(number, OrderedDict()), self.root.time
        self.begin(number, now)
        self.forget_unseen(now, number)
        limit = node.capacity if isinstance(node.capacity, int) else node.capacity["keys"]
        if key not in seen and len(seen) >= limit:
            if node.keeping.when_full == "drop_new":
                self.dropped += 1
                return False
            assert node.keeping.when_full == "evict_oldest"
            self.forget(number, next(iter(seen)))
            self.evicted += 1
        seen[key] = now
        seen.move_to_end(key)
        return True

    def begin(self, number, now):
        if now > 0:
            self.began.setdefault(number, now)

    def forget_unseen(self, now, only=None):
        for number, seen in self.last_seen.items():
            if only in (None, number):
                over = [key for key in seen if self.is_over(number, key, now)]
                for key in over:
                    self.forget(number, key)
                self.forgotten += len(over)

    def is_timed_out(self, number, key):
        self.begin(number, self.reached)
        return self.is_over(number, key, self.reached)

    def is_over(self, number, key, now):
        ttl_ns, seen = self.pipeline.nodes[number].keeping.ttl_ns, self.last_seen[number][key]
        return 0 < ttl_ns <= now - max(seen, self.began.get(number, 0))

    def forget(self, number, key):
        """As if it had never been seen."""
        del self.last_seen[number][key]
        self.states.get(number, {}).pop(key, None)
        windows = (self.panes, self.seen_by, self.changed)
        for held in (self.timers, *windows, self.sessions, self.batches):
            held.pop((number, key), None)

    # --- windows ----------------------------------------------------------------------------------

    def add_to_window(self, node, number, event):
        ts, time, every = event.ts_event_ns, self.root.time, node.every_ns
        key, pane, width = key_of(node, event), ts // every, node.width_ns // every
        is_late = self.root.late or ts < time
        if is_late and (
            ts < 0 or node.lateness_ns == 0 or (pane + width) * every + node.lateness_ns <= time
        ):
            self.late_at_windows += 1
            self.push(node, "late", event)
            return
        has_missed = is_late and (pane + 1) * every + node.lateness_ns <= time  # some windows
        self.late_at_windows += has_missed
        if not self.is_kept(node, number, key):
            if has_missed:
                self.push(node, "late", event)
            return
        panes = self.panes.setdefault((number, key), {})
        if node.lateness_ns:
            for held in list(panes):
                if (held + width) * every + node.lateness_ns <= time:
                    del panes[held]
        ring = self.ring(node)
        if any(held != pane and held % ring == pane % ring for held in panes):
            self.ahead += 1
            self.push(node, "late", event)
            return
        panes.setdefault(pane, []).append(event)
        self.seen_by.setdefault((number, key), {}).setdefault(pane, []).append(event)
        pending = self.timers.get((number, key), NEVER)
        ends = [end * every for end in range(pane + 1, pane + width + 1)]
        if node.early_ns and ends[0] > time:
            self.changed.setdefault((number, key), set()).add(pane)
        if wakes := self.wakes(node, number, key, time):
            self.timers[number, key] = min(*wakes, pending)
        for end_ns in ends:
            is_over = end_ns <= time < end_ns + node.lateness_ns and not pending <= end_ns
            if is_late and is_over:
                self.tell_window(node, number, key, end_ns, LATE)
            elif node.emit == "each" and end_ns > time:
                self.tell_window(node, number, key, end_ns, EARLY)
        if has_missed:
            self.push(node, "late", event)

    def wakes(self, node, number, key, after_ns):
        """When, after some time, the windows of a key end, or are to be told early."""
        every, found = node.every_ns, []
        for pane in self.panes[number, key]:
            ends = [(pane + i) * every for i in range(1, node.width_ns // every + 1)]
            found += [end_ns for end_ns in ends if end_ns > after_ns]
            if pane in self.changed.get((number, key), ()) and ends[-1] > after_ns:
                begun = max(after_ns, pane * every)
                found.append((begun // node.early_ns + 1) * node.early_ns)
        return found

    def close_window(self, node, number, key, due_ns):
        every, panes = node.every_ns, self.panes[number, key]
        end_ns = -(-due_ns // every) * every  # of a window told early: after `due_ns`
        self.changed.get((number, key), set()).discard(end_ns // every - 1)
        if due_ns == end_ns and node.lateness_ns == 0:
            for pane in list(panes):
                if pane * every + node.width_ns < end_ns:
                    del panes[pane]
        wakes = self.wakes(node, number, key, due_ns)
        if wakes:
            self.timers[number, key] = min(wakes)
        self.tell_window(node, number, key, end_ns, 0 if due_ns == end_ns else EARLY)
        if not wakes and node.leaves_keys():
            self.forget(number, key)
        elif due_ns == end_ns and node.lateness_ns == 0:
            panes.pop((end_ns - node.width_ns) // every, None)

    def tell_window(self, node, number, key, end_ns, flag):
        start_ns, spec = end_ns - node.width_ns, node.spec
        state = SimpleNamespace(**fresh(spec.state, spec.initial))
        before = SimpleNamespace(**fresh(spec.state, spec.initial))
        for pane, events in sorted(self.seen_by[number, key].items()):
            if start_ns <= pane * node.every_ns < end_ns:
                for event in events:
                    spec.add(state, event)
            elif spec.carry and pane * node.every_ns < start_ns:
                own = SimpleNamespace(**fresh(spec.state, spec.initial))
                for event in events:
                    spec.add(own, event)
                spec.carry(before, own)
        taken = [before] if spec.carry else []
        self.give(node, spec.result(state, key, start_ns, end_ns, *taken), flag)

    def give(self, node, made, flag):
        if made is not None:
            made = made._replace(flags=made.flags | flag) if flag else made
            self.push(node, "windows", made)

    def add_to_session(self, node, number, event):
        ts, gap, key = event.ts_event_ns, node.gap_ns, key_of(node, event)
        if self.root.late or ts < self.root.time:
            self.late_at_windows += 1
            self.push(node, "late", event)
            return
        if not self.is_kept(node, number, key):
            return
        open_ = self.sessions.setdefault((number, key), [])
        near = [s for s in open_ if any(abs(ts - other.ts_event_ns) < gap for other in s)]
        if not near and len(open_) == 2 + -(-self.slack_ns(node) // gap):
            self.ahead += 1
            self.push(node, "late", event)
            return
        joined = [*near[0], event, *(e for s in near[1:] for e in s)] if near else [event]
        kept = [s for s in open_ if s not in near] + [joined]
        self.sessions[number, key] = sorted(kept, key=earliest)
        self.await_session(node, number, key)
        if node.emit == "each":
            self.tell(node, joined, key, earliest(joined), latest(joined) + gap, EARLY)

    def await_session(self, node, number, key):
        ends = [latest(s) + node.gap_ns for s in self.sessions[number, key]]
        self.timers.pop((number, key), None)
        if ends:
            self.timers[number, key] = min(ends)

    def close_session(self, node, number, key, end_ns):
        over = next(s for s in self.sessions[number, key] if latest(s) + node.gap_ns == end_ns)
        self.sessions[number, key].remove(over)
        self.await_session(node, number, key)
        if not self.sessions[number, key]:
            self.forget(number, key)
        self.tell(node, over, key, earliest(over), end_ns)

    def add_to_batch(self, node, number, event):
        key = key_of(node, event)
        if not self.is_kept(node, number, key):
            return
        some = self.batches.setdefault((number, key), [])
        some.append(event)
        is_full = len(some) == node.rows
        if is_full:
            self.forget(number, key)
        if is_full or node.emit == "each":
            flag = 0 if is_full else EARLY
            self.tell(node, some, key, some[0].ts_event_ns, event.ts_event_ns, flag)

    # --- order ------------------------------------------------------------------------------------

    def wait(self, node, number, name, event):
        if self.root.late or event.ts_event_ns < self.root.time:
            self.late_at_windows += 1
            self.push(node, f"late_{name}", event)
            return
        waiting = self.waiting.setdefault(number, [])
        by = (256, 0) if self.root.kind == TIMER_ROOT else (self.root.source, self.root.sequence)
        self.arrived += 1
        waiting.append(((event.ts_event_ns, *by, self.arrived), name, event))
        self.timers[number, number] = min(waiting)[0][0] + 1

    def go_on(self, node, number, due):
        waiting = self.waiting[number]
        first = min(waiting)
        waiting.remove(first)
        if waiting:
            self.timers[number, number] = min(waiting)[0][0] + 1
        self.root.time = due - 1
        self.counting_on(number, number, due, lambda: self.push(node, first[1], first[2]))

    def counting_on(self, number, key, due, make):
        """Rows of one time are numbered on, though each has a root of its own."""
        before, count = self.told.get((number, key), (None, 0))
        self.root.index = count if before == due else 0
        root = self.root
        make()
        self.told[number, key] = (due, root.index)

    # --- interval joins ---------------------------------------------------------------------------

    def join(self, node, number, side, event):
        if self.root.late or event.ts_event_ns < self.root.time:
            self.late_at_windows += 1
            self.push(node, f"late_{side}", event)
            return
        key, ts = getattr(event, node.key), event.ts_event_ns
        kept = self.kept.setdefault((number, key), {"left": [], "right": []})
        made = []
        for other in in_time(kept["right" if side == "left" else "left"]):
            left, right = (event, other[0]) if side == "left" else (other[0], event)
            if node.least_ns <= right.ts_event_ns - left.ts_event_ns <= node.most_ns:
                other[1] = True
                made.append(joined(node, left, right))
        sure = ts + node.most_ns if side == "left" else ts - node.least_ns
        is_met = bool(made)
        if sure >= self.root.time:
            kept[side].append([event, is_met])
            self.await_partner(node, number, key)
        elif side == "left" and not is_met and node.how != "inner":
            made = [joined(node, event, None, ts)]
        if is_met and node.how == "anti":
            return
        assert len(made) <= node.at_most
        for row in made:
            self.push(node, "rows", row)

    def await_partner(self, node, number, key):
        kept = self.kept[number, key]
        dues = [e.ts_event_ns + node.most_ns + 1 for e, _ in kept["left"]]
        dues += [e.ts_event_ns - node.least_ns + 1 for e, _ in kept["right"]]
        if dues:
            self.timers[number, key] = min(dues)

    def let_go(self, node, number, key, due):
        kept, alone = self.kept[number, key], None
        kept["right"] = [e for e in kept["right"] if e[0].ts_event_ns - node.least_ns + 1 > due]
        for entry in in_time(kept["left"]):
            if entry[0].ts_event_ns + node.most_ns + 1 <= due and alone is None:
                kept["left"].remove(entry)
                if not entry[1] and node.how != "inner":
                    alone = joined(node, entry[0], None, due)
        self.await_partner(node, number, key)
        if node.how != "inner":
            make = (lambda: self.push(node, "rows", alone)) if alone else (lambda: None)
            self.counting_on(number, key, due, make)

    def tell(self, node, events, key, start_ns, end_ns, flag=0):
        spec = node.spec
        state = SimpleNamespace(**fresh(spec.state, spec.initial))
        for event in events:
            spec.add(state, event)
        taken = [SimpleNamespace(**fresh(spec.state, spec.initial))] if spec.carry else []
        self.give(node, spec.result(state, key, start_ns, end_ns, *taken), flag)

    def slack_ns(self, node):
        """How far apart rows may come: late ones, and sources that differ; not rows of windows."""
        sources = self.pipeline.sources
        if comes_with_time(node.inputs[0][1]):
            return 0
        slack_ns = max(s.lateness_ns for s in sources)
        return slack_ns + 2 * max(s.idle_ns for s in sources) if len(sources) > 1 else slack_ns

    def ring(self, node):
        """Panes kept a key: a window, what may be late, how far apart sources may be; 2**n."""
        kept_ns = self.slack_ns(node) + node.lateness_ns
        needed = node.width_ns // node.every_ns + -(-kept_ns // node.every_ns) + 2
        return next(size for size in (2**n for n in range(40)) if size >= needed)


def comes_with_time(stream):
    """Is the time of each of its rows the time at which it is made?"""
    maker = stream.node
    if isinstance(maker, Merge):
        return all(comes_with_time(other) for _, other in maker.inputs)
    if isinstance(maker, InOrder):
        return not stream.output.startswith("late_")
    if isinstance(maker, Window | Session) and stream.output == "windows":
        triggers = [getattr(maker, name, 0) for name in ("early_ns", "lateness_ns")]
        return maker.emit == "end" and not any(triggers)
    return False


def key_of(node, event):
    return getattr(event, node.key) if node.key else 0


def fresh(dtype, initial):
    """{name: value} of a new key's state."""
    values = {}
    for name, value in zip(dtype.names, initial):
        length = dtype[name].shape
        values[name] = [value] * length[0] if length else value
    return values


def in_time(entries):
    """By time; of equal times in the order they came."""
    return sorted(entries, key=lambda entry: entry[0].ts_event_ns)


def joined(node, left, right, ts_ns=None):
    """The row of a pair, or of a left row alone."""
    fields = left._asdict() | {"ts_left_ns": left.ts_event_ns}
    if right is not None:
        fields |= {"apart_ns": right.ts_event_ns - left.ts_event_ns}
        fields |= {called: getattr(right, name) for name, called in node.taken.items()}
        ts_ns = max(left.ts_event_ns, right.ts_event_ns)
    else:
        codes = {
            called: node.of.fields[called].code
            for called in [*node.taken.values(), "apart_ns"]
            if called in node.of.fields
        }
        fields |= {called: UNSET if code == "<i8" else 0 for called, code in codes.items()}
    fields["ts_event_ns"] = ts_ns
    return node.of(**{name: fields[name] for name in node.of._fields})


def earliest(events):
    return min(e.ts_event_ns for e in events)


def latest(events):
    return max(e.ts_event_ns for e in events)
