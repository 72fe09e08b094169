"""What a person may ask of the simulated exchange, checked before anything is made.

The numbers that the flow is built on are here too, because the limits follow from them.
"""

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from onetape.records import OperatorError

INSTRUMENTS_MAX = 8000  # the four-letter names that `symbol_of` can make
SECONDS_MAX = 23_400.0  # 09:30 to 16:00
MESSAGES_PER_S_MAX = 10_000_000.0
MESSAGES_PER_INSTRUMENT_S = 50  # unless another rate is asked for

SECOND_NS = 1_000_000_000
MILLISECOND_NS = 1_000_000
START_NS = (9 * 60 + 30) * 60 * SECOND_NS

# Where episodes may stand. Time is cut into slots; each holds at most one episode an instrument:
# it begins within JITTER_NS of the slot's begin, takes at most EPISODE_NS, and leaves APART_NS.
LEAD_NS = 20 * MILLISECOND_NS  # nothing before: the flow is then quiet in front of each episode
JITTER_NS = 60 * MILLISECOND_NS
EPISODE_NS = 90 * MILLISECOND_NS
APART_NS = 100 * MILLISECOND_NS
TRAIL_NS = 50 * MILLISECOND_NS  # nothing after
SLOT_NS = JITTER_NS + EPISODE_NS + APART_NS

TRADING_DATE = date(2026, 1, 5)


@dataclass(frozen=True, kw_only=True)
class ExchangeOptions:
    """Options of a simulated day; the same options give the same bytes. OperatorError if bad."""

    seed: int = 7
    instruments: int = 100
    seconds: float = 10.0
    messages_per_s: float | None = None
    episodes: int = 8
    trading_date: date = TRADING_DATE

    def __post_init__(self) -> None:
        _whole("seed", self.seed, -(2**63), 2**63 - 1)
        _whole("instruments", self.instruments, 1, INSTRUMENTS_MAX)
        _number("seconds", self.seconds, 0.001, SECONDS_MAX)
        if self.messages_per_s is not None:
            _number("messages_per_s", self.messages_per_s, 0.1, MESSAGES_PER_S_MAX)
        _whole("episodes", self.episodes, 0, 2**31 - 1)
        if self.episodes > self.episodes_max:
            raise OperatorError(self._too_many_episodes())

    @property
    def duration_ns(self) -> int:
        return round(self.seconds * SECOND_NS)

    @property
    def rate_per_s(self) -> float:
        """Messages a second, over all instruments."""
        if self.messages_per_s is not None:
            return self.messages_per_s
        return float(MESSAGES_PER_INSTRUMENT_S * self.instruments)

    @property
    def slots(self) -> int:
        """Stretches of time that hold one episode for each instrument."""
        room_ns = self.duration_ns - LEAD_NS - TRAIL_NS - JITTER_NS - EPISODE_NS
        return room_ns // SLOT_NS + 1 if room_ns >= 0 else 0

    @property
    def episodes_max(self) -> int:
        """How many episodes the run has room for."""
        return self.slots * self.instruments

    def _too_many_episodes(self) -> str:
        slots_needed = -(-self.episodes // self.instruments)
        needed_ns = LEAD_NS + TRAIL_NS + JITTER_NS + EPISODE_NS + (slots_needed - 1) * SLOT_NS
        return (
            f"episodes was {self.episodes}; a run of {self.seconds:g} s with {self.instruments} "
            f"instruments has room for {self.episodes_max} (one an instrument each "
            f"{SLOT_NS // MILLISECOND_NS} ms, none in the last {TRAIL_NS // MILLISECOND_NS} ms): "
            f"ask for at least {needed_ns / SECOND_NS:g} s, for more instruments or for fewer "
            f"episodes"
        )


def new_york_midnight_ns(day: date) -> int:
    """Midnight in New York, which ITCH counts from, as UTC ns since 1970. Dates from 2007 on.

    Summer time begins on the second Sunday of March and ends on the first of November, at two in
    the morning, so those two days still begin by the clock of the day before.
    """
    summer = _first_sunday(day.year, 3) + timedelta(days=7) < day <= _first_sunday(day.year, 11)
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    days = (midnight - datetime(1970, 1, 1, tzinfo=UTC)).days
    return (days * 24 + (4 if summer else 5)) * 3600 * SECOND_NS


def symbol_of(instrument: int) -> str:
    """A made-up symbol for row 0 to 7999: Z and three consonants, neighbours unlike each other."""
    letters = "BCDFGHJKLMNPQRSTVWXZ"
    code = (instrument * 7919 + 4243) % INSTRUMENTS_MAX
    return "Z" + letters[code // 400] + letters[code // 20 % 20] + letters[code % 20]


def _first_sunday(year: int, month: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=6 - first.weekday())


def _whole(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise OperatorError(f"{name} was {value!r}; expected a whole number, {low} to {high}")


def _number(name: str, value: object, low: float, high: float) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not low <= value <= high
    ):
        raise OperatorError(f"{name} was {value!r}; expected a number, {low:g} to {high:.10g}")
