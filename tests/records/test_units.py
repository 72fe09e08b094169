"""Units: what a person writes for a duration, ticks or lots, and how a mistake is answered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onetape.records import DeclarationError, Duration, Lots, Ticks
from onetape.records.types import parse_duration_ns, unit_of

NS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9}
NS |= {"m": 60 * 10**9, "h": 3600 * 10**9, "d": 86_400 * 10**9}


@given(st.integers(0, 50_000), st.sampled_from(sorted(NS)), st.sampled_from(["", " ", "  "]))
def test_a_duration_is_a_whole_number_and_a_unit(count, unit, space):
    assert parse_duration_ns(f"{count}{space}{unit}") == count * NS[unit]
    assert parse_duration_ns(f" {count}{unit} ") == count * NS[unit]


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_whole_number_is_nanoseconds_already(count):
    assert parse_duration_ns(count) == count


@pytest.mark.parametrize("text", ["", "5", "ms", "1.5s", "-5ms", "5 min", "5ms 2s", "1e3ns", "5MS"])
def test_text_that_is_no_duration_is_shown_with_an_example(text):
    with pytest.raises(DeclarationError) as raised:
        parse_duration_ns(text)

    assert str(raised.value) == (
        f"duration {text!r} is not a whole number and a unit; write for example '5ms' "
        "(units: ns, us, µs, ms, s, m, h, d)"
    )


@pytest.mark.parametrize("value", [1.5, None, True, b"5ms", [5]])
def test_a_duration_is_text_or_a_whole_number(value):
    with pytest.raises(DeclarationError, match=r"duration was .*; expected text such as '5ms'"):
        parse_duration_ns(value)


def test_a_duration_fits_where_times_are_added_to_it():
    assert parse_duration_ns("53375d") == 53375 * 86_400 * 10**9
    with pytest.raises(DeclarationError, match=r"duration '999999d' is \d+ ns; at most 146 years"):
        parse_duration_ns("999999d")


@pytest.mark.parametrize(
    "annotation, value, parsed",
    [
        (Duration, "5ms", 5_000_000),
        (Duration, 7, 7),
        (Ticks, "12", 12),
        (Ticks, "-3", -3),
        (Lots, 100, 100),
        (Lots, " 100 ", 100),
    ],
)
def test_units_read_what_a_person_writes(annotation, value, parsed):
    assert unit_of(annotation).parse(value) == parsed


@pytest.mark.parametrize(
    "annotation, value, message",
    [
        (Ticks, "3.5", "'3.5' is not a whole number of ticks"),
        (Lots, "many", "'many' is not a whole number of lots"),
        (Ticks, 3.5, "3.5 is not a number of ticks"),
        (Duration, True, "True is not a number of ns"),
        (Lots, None, "None is not a number of lots"),
    ],
)
def test_units_refuse_the_rest(annotation, value, message):
    with pytest.raises(DeclarationError, match=message):
        unit_of(annotation).parse(value)


def test_other_annotations_have_no_unit():
    assert unit_of(int) is None
