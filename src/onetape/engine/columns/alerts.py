"""`stream.alert("50 bp from VWAP", severity="warn", once_per="5s")`: a row becomes an Alert.

Within `once_per` of event time after an alert of a key, further rows are counted, not told: the
next alert's `events_count` says how many there were. `rule` is a number made from the text, the
same in every run; `Pipeline.rules` has the texts.
"""

import zlib
from typing import Any

from onetape.compiled.bits import mix
from onetape.compiled.kernel import kernel
from onetape.engine.columns.bind import field_name
from onetape.engine.columns.written import written
from onetape.engine.operator_node import operator
from onetape.engine.operators import UpTo
from onetape.engine.stream import Stream
from onetape.records import UNSET, DeclarationError
from onetape.records.market import CRITICAL, OPEN, WARN, Alert
from onetape.records.types import i64, parse_duration_ns

SEVERITIES = {"warn": WARN, "critical": CRITICAL}
WRITTEN_RULES = 1 << 15  # rules made from a text are numbered from here; shipped ones below


@kernel
def wide_alert_id(rule, key, sequence):
    """As `alert_id`, of a key of 64 bits, which is no instrument."""
    return mix(mix(mix(key) ^ rule) ^ sequence)


@kernel
def alert_id(rule, instrument, sequence):
    """The same for the same cause, in every run."""
    return mix(mix(instrument * 65536 + rule) ^ sequence)


def alert(
    stream: Stream,
    text: str,
    *,
    severity: str = "warn",
    once_per: str | int = 0,
    by: Any = "instrument_id",
    capacity: int = 1 << 16,
    **kept: Any,
) -> Stream:
    """An Alert for each row, at most one a key in `once_per`. kept: as an operator takes it."""
    of = stream.of
    if severity not in SEVERITIES:
        raise DeclarationError(f"severity was {severity!r}; expected {' or '.join(SEVERITIES)}")
    if not isinstance(text, str) or not text.strip():
        raise DeclarationError(f"alert was given {text!r}; expected a line that says what it is")
    key = field_name(by, of, "alert: by")
    once_ns = parse_duration_ns(once_per)
    rule = rule_of(text)
    has = of.fields
    is_wide = has[key].code in ("<i8", "<u8")
    make_id = "wide_alert_id" if is_wide else "alert_id"
    instrument = key if "instrument_id" not in has and not is_wide else "instrument_id"
    cause = "e.sequence" if "sequence" in has else "e.ts_event_ns"
    lines = [
        f"class {of.__name__}Alert:",
        f"    last_ns: i64 = {UNSET}",
        "    untold: i64 = 0",
        "    def on_event(self, e: Of, out: UpTo) -> None:",
        f"        if self.last_ns != {UNSET} and e.ts_event_ns - self.last_ns < {once_ns}:",
        "            self.untold += 1",
        "            return",
        "        self.last_ns = e.ts_event_ns",
        "        a = out.row()",
        "        a.ts_event_ns = e.ts_event_ns",
        f"        a.alert_id = {make_id}({rule}, e.{key}, {cause})",
        "        a.first_ts_ns = e.ts_event_ns",
        "        a.events_count = self.untold + 1",
        *["        a.evidence_order_id[0] = e.order_id"] * ("order_id" in has),
        *["        a.evidence_sequence[0] = e.sequence"] * ("sequence" in has),
        f"        a.evidence_count = {int('sequence' in has)}",
        *[f"        a.instrument_id = e.{instrument}"] * (instrument in has),
        f"        a.rule = {rule}",
        f"        a.state = {OPEN}",
        f"        a.severity = {SEVERITIES[severity]}",
        *["        a.flags = e.flags"] * ("flags" in has),
        "        self.untold = 0",
    ]
    names = {"Of": of, "UpTo": UpTo.__class_getitem__((1, Alert)), "i64": i64}
    names |= {"alert_id": alert_id, "wide_alert_id": wide_alert_id}
    made = written(f"{of.__name__}Alert", lines, names)
    made.__alert_rule__ = (rule, text)
    return operator(made, key=key)(stream, capacity={"keys": capacity}, **kept)  # type: ignore[no-any-return]


def rule_of(text: str) -> int:
    """The number of a rule that is named by a text."""
    return WRITTEN_RULES | (zlib.crc32(text.encode()) & (WRITTEN_RULES - 1))
