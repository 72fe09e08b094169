"""Times of any unit, zone and form to nanoseconds since 1970-01-01 UTC. Nothing is guessed."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from onetape.connect.frames.converted import Converted, cast_what_can_be, missing_of, shown
from onetape.records import DeclarationError, PeerError

UNIT_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
FAR_NS = 1 << 62  # the engine takes event times from 0 to here
_ZONED = re.compile(r"(?:[zZ]|[+-]\d\d(?::?\d\d)?)$")


@dataclass(frozen=True)
class TimeRule:
    """How times of a table are read: the zone of those that have none, the unit of integers."""

    tz: str | None = None
    unit: str | None = None

    def __post_init__(self) -> None:
        if self.unit is not None and self.unit not in UNIT_NS:
            raise DeclarationError(
                f"time_unit was {self.unit!r}; expected one of {', '.join(UNIT_NS)}"
            )
        if self.tz is not None:
            from zoneinfo import ZoneInfo

            try:
                ZoneInfo(self.tz)
            except (KeyError, OSError, ValueError):
                raise DeclarationError(
                    f'tz was {self.tz!r}, which is no known time zone; for example "UTC" or '
                    '"America/New_York"'
                ) from None


def times_ns(column: Any, name: str, rule: TimeRule, *, is_ns: bool) -> Converted:
    """Nanoseconds of a column called `name`; `is_ns`: integers are, without a unit given."""
    import pyarrow as pa

    missing = missing_of(column)
    kind = column.type
    if pa.types.is_integer(kind):
        values, bad = _integers(column, name, rule, is_ns)
    elif pa.types.is_string(kind) or pa.types.is_timestamp(kind):
        values, bad = _moments(column, name, rule)
    else:
        raise PeerError(
            f"column {name!r} is {kind}, which is no exact time; expected timestamps, ISO text, or "
            "integers with time_unit"
        )
    bad = (bad | (values < 0) | (values >= FAR_NS)) & ~missing
    return Converted(values, missing, bad, lambda i: _why(column, i, rule))


def _integers(column: Any, name: str, rule: TimeRule, is_ns: bool) -> tuple[Any, Any]:
    import pyarrow as pa

    unit = "ns" if is_ns and rule.unit is None else rule.unit
    if unit is None:
        first = next((v.as_py() for v in column if v.is_valid), 0)
        raise DeclarationError(
            f"column {name!r} holds integers (the first is {first}); say what they count from "
            f"1970 UTC: {_candidates(first)}"
        )
    values, bad = cast_what_can_be(column, pa.int64())
    counted = values.fill_null(0).to_numpy()
    bad |= np.abs(counted) >= FAR_NS // UNIT_NS[unit]
    return np.where(bad, 0, counted) * UNIT_NS[unit], bad


def _moments(column: Any, name: str, rule: TimeRule) -> tuple[Any, Any]:
    """Timestamps or ISO text. A naive time that its zone has twice, or never, is bad."""
    import pyarrow as pa
    import pyarrow.compute as pc

    zoned = _has_zone(column)
    moments, bad = cast_what_can_be(column, pa.timestamp("ns", "UTC" if zoned else None))
    if not zoned:
        if rule.tz is None:
            raise DeclarationError(
                f"column {name!r} holds times without a zone (the first is "
                f'{shown(column, _first(column))}); say whose they are: tz="America/New_York", '
                'tz="UTC" ...'
            )
        early, late = (
            pc.assume_timezone(moments, rule.tz, ambiguous=which, nonexistent=which)
            for which in ("earliest", "latest")
        )
        bad = bad | pc.not_equal(early, late).fill_null(False).to_numpy(zero_copy_only=False)
        moments = early
    return pc.cast(moments, pa.int64()).fill_null(0).to_numpy(), bad


def _has_zone(column: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        return column.type.tz is not None
    first = _first(column)
    return first is not None and _ZONED.search(column[first].as_py().strip()) is not None


def _first(column: Any) -> Any:
    return next((i for i, value in enumerate(column) if value.is_valid), None)


def _candidates(first: int) -> str:
    """What a number would be as each unit, where that is a year of this era."""
    found = []
    for unit, ns in UNIT_NS.items():
        seconds = first * ns // 10**9
        if 631152000 <= seconds < 4102444800:  # 1990 to 2100
            found.append(f'time_unit="{unit}" makes it {datetime.fromtimestamp(seconds, UTC)}')
    return "; ".join(found) or f"time_unit= one of {', '.join(UNIT_NS)}"


def _why(column: Any, i: int, rule: TimeRule) -> str:
    import pyarrow as pa

    was = shown(column, i)
    if pa.types.is_integer(column.type):
        return f"{was} is no time from 1970 to 2116"
    zoned = _has_zone(column)
    try:
        moment = column[i].cast(pa.timestamp("ns", "UTC" if zoned else None))
    except pa.ArrowInvalid:
        like = "with a zone, as the first row" if zoned else "without a zone, as the first row"
        return f"{was} is no time in ISO 8601 {like}"
    if not zoned and 0 <= moment.value < FAR_NS:
        return f"{was} is twice or never in {rule.tz} (the clock changed); give UTC times"
    return f"{was} is before 1970 or after 2116"
