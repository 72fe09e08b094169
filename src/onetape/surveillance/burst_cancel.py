"""Burst cancel: more than n cancel messages of one instrument within any 10 ms.

A cancel message is a delete, a cancel of all or part, or a replace (which counts once). It is
*over* when, with it, more than `more_than` of them lie in [t - within, t]. The first one that is
over opens an episode; the episode ends `within` after the last one that is over. One alert when
it opens, with the events that made it; the same alert again, closed, when it ends, with the number
of cancel messages in it. Time is event time; state is sixteen events an instrument. Cancels that
arrive out of time order may hide a burst; they never make one. A burst that is late as a whole (its
time is past already) is one episode too, which ends with the next cancel behind it, or the input.
"""

from onetape.compiled.kernel import kernel
from onetape.engine import Stream, UpTo, operator
from onetape.engine.columns.alerts import alert_id
from onetape.records import DeclarationError
from onetape.records.market import (
    CANCEL,
    CLOSED,
    LATE,
    MODIFY,
    OPEN,
    RULE_BURST_CANCEL,
    WARN,
    Alert,
    MarketEvent,
)
from onetape.records.types import UNSET, Array, Duration, i64, parse_duration_ns

AT_THE_END = 2**62 - 1  # due when the input is over
REMEMBERED = 16  # recent cancels an instrument; also the most evidence an alert carries


def burst_cancel(events: Stream, *, more_than: int = 5, within: str | int = "10ms") -> Stream:
    """Alerts on bursts of cancels, with the first events of each; `more_than` is 1 to 15.

    ```python
    alerts = burst_cancel(ot.source("itch").events(), more_than=5, within="10ms")
    ```
    """
    if not 1 <= more_than < REMEMBERED:
        raise DeclarationError(f"more_than was {more_than}; expected 1 to {REMEMBERED - 1}")
    if parse_duration_ns(within) <= 0:
        raise DeclarationError(f"within was {within!r}; expected a positive duration")
    return BurstCancel(events, more_than=more_than, within=within)  # type: ignore[no-any-return]


@operator(key="instrument_id")
class BurstCancel:
    wake_ns: i64 = UNSET
    end_ns: i64 = 0  # of the episode, as far as is known
    seen: i64 = 0  # cancels so far; the last REMEMBERED of them are kept
    ts_ns: Array[i64, 16]
    order_id: Array[i64, 16]
    sequence: Array[i64, 16]
    # The episode under way; events_count 0: none.
    events_count: i64 = 0
    first_ts_ns: i64 = 0
    instrument_id: i64 = 0
    evidence_order_id: Array[i64, 16]
    evidence_sequence: Array[i64, 16]

    def on_event(
        self,
        e: MarketEvent,
        alert: UpTo[2, Alert],
        *,
        more_than: int = 5,
        within: Duration = "10ms",
    ) -> None:
        if e.action != CANCEL and e.action != MODIFY:
            return
        at = self.seen % REMEMBERED
        self.ts_ns[at] = e.ts_event_ns
        self.order_id[at] = e.order_id
        self.sequence[at] = e.sequence
        self.seen += 1
        if self.events_count > 0 and e.ts_event_ns >= self.end_ns:
            # The episode ended before this, and time has yet to come so far (a source may lag).
            write_alert(self, alert.row(), self.end_ns, CLOSED)
            self.events_count = 0
            self.wake_ns = UNSET
        oldest = (self.seen - 1 - more_than) % REMEMBERED
        over = self.seen > more_than and e.ts_event_ns - self.ts_ns[oldest] <= within
        if over:
            for i in range(more_than + 1):
                lag_ns = e.ts_event_ns - self.ts_ns[(self.seen - 1 - i) % REMEMBERED]
                over = over and 0 <= lag_ns <= within
        if over:
            self.end_ns = e.ts_event_ns + within
            if e.flags & LATE == 0:
                self.wake_ns = self.end_ns
            elif self.events_count == 0:
                self.wake_ns = AT_THE_END
        if self.events_count > 0:
            if self.events_count < REMEMBERED:
                self.evidence_order_id[self.events_count] = e.order_id
                self.evidence_sequence[self.events_count] = e.sequence
            self.events_count += 1
        elif over:
            for i in range(more_than + 1):
                cell = (self.seen - 1 - more_than + i) % REMEMBERED
                self.evidence_order_id[i] = self.order_id[cell]
                self.evidence_sequence[i] = self.sequence[cell]
            self.events_count = more_than + 1
            self.first_ts_ns = self.ts_ns[oldest]
            self.instrument_id = e.instrument_id
            write_alert(self, alert.row(), e.ts_event_ns, OPEN)

    def on_timer(self, now_ns: int, alert: UpTo[1, Alert]) -> None:
        write_alert(self, alert.row(), self.end_ns, CLOSED)
        self.events_count = 0


BurstCancel.source.__alert_rule__ = (RULE_BURST_CANCEL, "burst cancel")


@kernel
def write_alert(state, a, now_ns, alert_state):
    """Fill an alert row from the episode in `state`."""
    a.ts_event_ns = now_ns
    a.alert_id = alert_id(RULE_BURST_CANCEL, state.instrument_id, state.evidence_sequence[0])
    a.first_ts_ns = state.first_ts_ns
    a.events_count = state.events_count
    a.instrument_id = state.instrument_id
    a.rule = RULE_BURST_CANCEL
    a.state = alert_state
    a.severity = WARN
    a.evidence_count = min(state.events_count, REMEMBERED)
    for i in range(min(state.events_count, REMEMBERED)):
        a.evidence_order_id[i] = state.evidence_order_id[i]
        a.evidence_sequence[i] = state.evidence_sequence[i]
