"""The account of a run, in words."""

import pytest

from onetape.runtimes.account import lines_of

FINE = {
    "messages": 10, "gaps": 0, "gap_messages": 0, "duplicates": 0, "late": 0, "late_at_windows": 0,
    "ahead": 0, "dropped_matches": 0, "bad_frames": 0, "bad_events": 0, "refused": {}, "book": {},
    "state": {},
}  # fmt: skip


@pytest.mark.parametrize(("late", "is_said"), [(0, False), (5, False), (6, True), (10, True)])
def test_a_run_of_which_most_is_late_says_why_that_may_be(late, is_said):
    lines = lines_of(FINE | {"late": late})

    assert any("most events are late" in line for line in lines) == is_said
    assert any("late" in line for line in lines)


def test_nothing_odd_is_one_line():
    assert lines_of(FINE) == ["  no gaps, nothing late, no bad events"]


def test_dead_letters_are_counted_and_their_topic_is_named():
    lines = lines_of(FINE | {"dead_letters": 20, "dead_letters_topic": "fills.dead"})

    assert lines == ["  20 dead letters, on topic fills.dead"]
    assert lines_of(FINE | {"dead_letters": 0, "dead_letters_topic": ""}) == lines_of(FINE)
