"""Records, operators and aggregates that the tests of this room build their pipelines from."""

import onetape as ot
from onetape.engine import UpTo, aggregate, operator

PRIME = 1_000_003


@ot.record
class Tick:
    """What most test sources give."""

    ts_event_ns: ot.i64
    key: ot.i64
    value: ot.i64


@ot.record
class Note:
    """A second record, with fields of other widths and padding at the end."""

    ts_event_ns: ot.i64
    value: ot.i64
    key: ot.u32
    mark: ot.u8


@ot.record
class Summary:
    """Of a window: its events as a chain, so that order, start and end all show."""

    ts_event_ns: ot.i64
    start_ns: ot.i64
    key: ot.i64
    chain: ot.i64
    count: ot.i32
    flags: ot.u32


@aggregate
class Chain:
    """A number that depends on every event and on their order; chains can be joined."""

    chain: ot.i64 = 0
    power: ot.i64 = 1
    count: ot.i64 = 0

    def add(self, t: Tick) -> None:
        self.chain = (self.chain * 31 + t.value * 7 + t.ts_event_ns) % PRIME
        self.power = self.power * 31 % PRIME
        self.count += 1

    def merge(self, later: "Chain") -> None:
        self.chain = (self.chain * later.power + later.chain) % PRIME
        self.power = self.power * later.power % PRIME
        self.count += later.count

    def result(self, key: int, start_ns: int, end_ns: int) -> Summary | None:
        if self.count == 0:
            return None
        return Summary(end_ns, start_ns, key, self.chain, self.count, 0)


@aggregate
class Trail:
    """As Chain, with what was before a window in front of it."""

    chain: ot.i64 = 0
    power: ot.i64 = 1

    def add(self, t: Tick) -> None:
        self.chain = (self.chain * 31 + t.value * 5 + t.ts_event_ns) % PRIME
        self.power = self.power * 31 % PRIME

    def merge(self, later: "Trail") -> None:
        self.chain = (self.chain * later.power + later.chain) % PRIME
        self.power = self.power * later.power % PRIME

    def carry(self, pane: "Trail") -> None:
        self.chain = (self.chain * 7 + pane.chain) % PRIME

    def result(self, key: int, start_ns: int, end_ns: int, before: "Trail") -> Summary | None:
        return Summary(end_ns, start_ns, key, self.chain, before.chain, 0)


@aggregate
class Largest:
    """The largest value of notes; windows of small values say nothing."""

    value: ot.i64 = ot.UNSET
    mark: ot.u8 = 0

    def add(self, n: Note) -> None:
        if n.value > self.value:
            self.value = n.value
            self.mark = n.mark

    def merge(self, later: "Largest") -> None:
        if later.value > self.value:
            self.value = later.value
            self.mark = later.mark

    def result(self, key: int, start_ns: int, end_ns: int) -> Note | None:
        if self.value < 0:
            return None
        return Note(end_ns, self.value, key % 2**32, self.mark)


# --- functions ------------------------------------------------------------------------------------


@operator
def scaled(t: Tick, *, by: int = 3, plus: int = 1) -> Tick:
    """Always one row, of the same time."""
    return Tick(t.ts_event_ns, t.key, t.value * by + plus)


@operator
def some(t: Tick, *, of: int = 3) -> Tick | None:
    """Some rows, another key."""
    if t.value % of == 0:
        return None
    return Tick(t.ts_event_ns, t.key * 2 - t.value % 2, t.value // of)


@operator
def noted(t: Tick, *, shift: ot.Duration = "0ns") -> Note | None:
    """A note, which may carry another time than its cause."""
    if t.value < 0:
        return None
    return Note(t.ts_event_ns + shift, t.value, t.key % 5, t.value % 256)


@operator
def ticked(n: Note, ticks: UpTo[3, Tick], *, most: int = 3) -> None:
    """0 to 3 rows."""
    for i in range(min(n.value % 4, most)):
        ticks.append(Tick(n.ts_event_ns, n.key + i, n.value - i))


@operator
def closed(s: Summary, *, at_least: int = 1) -> Tick | None:
    """The result of a window as an event again, later than the window's end."""
    if s.count < at_least:
        return None
    return Tick(s.ts_event_ns + s.count % 3, s.key, s.chain % 10)


def told(stream):
    """The rows of a join, whatever its record is, as ticks that depend on all it has."""
    of, own = stream.of, [n for n in ("ts_left_ns", "apart_ns") if n in stream.of.fields]
    sums = " + ".join(["j.value", *(f"j.{n} % 50" for n in own)])
    names = {"Of": of, "Tick": Tick}
    text = f"def told_row(j: Of) -> Tick:\n    return Tick(j.ts_event_ns, j.key, {sums})\n"
    exec(text, names)
    return operator(names["told_row"])(stream)


class Seen:
    count: ot.i64 = 0
    total: ot.i64 = 100


@operator(key="key")
def every_other(t: Tick, s: Seen, *, start: int = 0) -> Tick | None:
    """With one key's state as the second parameter."""
    s.count += 1
    s.total = (s.total + t.value) % PRIME
    if (s.count + start) % 2:
        return None
    return Tick(t.ts_event_ns, t.key, s.total)


# --- classes --------------------------------------------------------------------------------------


@operator
class Split:
    """No state; two outputs, one of them with `row()`."""

    def on_tick(self, t: Tick, low: UpTo[2, Tick], notes: UpTo[1, Note], *, at: int = 4) -> None:
        if t.value < at:
            low.append(t)
            if t.key % 2:
                low.append(Tick(t.ts_event_ns, t.key + 1, -t.value))
        else:
            n = notes.row()
            n.ts_event_ns = t.ts_event_ns
            n.value = t.value
            n.key = t.key % 7


@operator(key="key")
class Sleeper:
    """Wakes some time after the last tick of its key; unless a tick of value 0 sends it to bed."""

    wake_ns: ot.i64 = ot.UNSET
    naps: ot.i64 = 0
    last: ot.i64 = 0

    def on_tick(self, t: Tick, *, nap: ot.Duration = "10ns") -> None:
        self.last = t.value
        self.wake_ns = ot.UNSET if t.value == 0 else t.ts_event_ns + nap

    def on_timer(self, now_ns: int, *, again: ot.Duration = "7ns") -> Tick | None:
        self.naps += 1
        if self.naps % 3:
            self.wake_ns = now_ns + again
        return Tick(now_ns, self.last % 3, self.naps)


@operator(key="key")
class Pair:
    """Two inputs, array state, a timer, and an output that both and the timer share."""

    wake_ns: ot.i64 = ot.UNSET
    held: ot.Array[ot.i64, 4]
    used: ot.i64 = 0

    def on_tick(self, t: Tick, pairs: UpTo[2, Tick], *, wait: ot.Duration = "12ns") -> None:
        self.held[self.used % 4] = t.value
        self.used += 1
        if self.wake_ns == ot.UNSET:
            self.wake_ns = t.ts_event_ns + wait
        if self.used % 4 == 0:
            for i in range(2):
                pairs.append(Tick(t.ts_event_ns, t.key, self.held[i] + self.held[i + 2]))

    def on_note(self, n: Note) -> None:
        self.used += n.value % 3

    def on_timer(self, now_ns: int, pairs: UpTo[2, Tick]) -> None:
        pairs.append(Tick(now_ns, self.held[0] % 4, self.used))


__all__ = [
    "Chain",
    "Largest",
    "Note",
    "Pair",
    "Seen",
    "Sleeper",
    "Split",
    "Summary",
    "Tick",
    "Trail",
    "closed",
    "every_other",
    "noted",
    "pairs",
    "quiet",
    "rises",
    "scaled",
    "some",
    "ticked",
    "told",
]


rises = (  # of one beginning after the other, the longest that two decide
    ot.Pattern(by="key", within=30, at_most=2, when_full="drop_oldest", skip="past_last")
    .begin("low", lambda t: t.value < 4)
    .then("up", lambda t, m: t.value > m.low.value, times=(1, 3), greedy=True)
    .emit(lambda m: Tick(m.end_ns, m.low.key, m.up.last.value + m.up.count))
)
pairs = (  # every one
    ot.Pattern(by="key", within=12, at_most=3, when_full="drop_newest")
    .begin("one", lambda t: t.value % 2 == 0)
    .then_any("other", lambda t, m: t.value < m.one.value)
    .emit(lambda m: Tick(m.other.ts_event_ns, m.one.key, m.other.value))
)
quiet = (  # told by time
    ot.Pattern(by="key", within=10, at_most=2, when_full="drop_oldest")
    .begin("high", lambda t: t.value > 6)
    .without("low", lambda t, m: t.value < m.high.value - 3)
    .emit(lambda m: Tick(m.end_ns, m.high.key, m.high.value))
)
