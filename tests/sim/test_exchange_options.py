"""Names and dates of the simulated exchange."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onetape.sim.exchange_options import new_york_midnight_ns, symbol_of

HOUR_NS = 3600 * 10**9


def test_symbols_are_four_letters_and_distinct():
    symbols = [symbol_of(i) for i in range(8000)]

    assert len(set(symbols)) == 8000
    assert all(len(s) == 4 and s.isascii() and s.isupper() for s in symbols)


SWITCHES = [
    (date(2026, 1, 5), 5),
    (date(2026, 3, 8), 5),  # two o'clock becomes three that morning
    (date(2026, 3, 9), 4),
    (date(2026, 11, 1), 4),
    (date(2026, 11, 2), 5),
    (date(2015, 3, 1), 5),  # the month begins on a Sunday
    (date(2015, 3, 9), 4),
]


@pytest.mark.parametrize(("day", "hours"), SWITCHES)
def test_midnight_in_new_york_follows_summer_time(day, hours):
    days = (day - date(1970, 1, 1)).days

    assert new_york_midnight_ns(day) == (24 * days + hours) * HOUR_NS


@given(st.integers(0, 40 * 365).map(lambda days: date(2007, 3, 1) + timedelta(days=days)))
def test_midnight_in_new_york_is_that_of_the_time_zone_database(day):
    try:
        zone = ZoneInfo("America/New_York")
    except ZoneInfoNotFoundError:
        pytest.skip("this machine has no time zone database")
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)

    assert new_york_midnight_ns(day) == int(midnight.timestamp()) * 10**9
