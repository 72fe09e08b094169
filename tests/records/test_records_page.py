"""docs/RECORDS.md says of every field and every value what it means, and of nothing else."""

import re
from pathlib import Path

import pytest

from onetape.records import is_record, market

PAGE = (Path(__file__).parents[2] / "docs" / "RECORDS.md").read_text()
RECORDS = {name: thing for name, thing in vars(market).items() if is_record(thing)}
LETTERS = {
    "action": (
        market.ADD,
        market.CANCEL,
        market.MODIFY,
        market.FILL,
        market.TRADE,
        market.REJECT,
        market.OTHER,
    ),
    "side": (market.BID, market.ASK, market.NO_SIDE),
}


def rows(section):
    """The rows of a section's table, as lists of cells."""
    text = PAGE.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize("name", RECORDS)
def test_every_field_of_a_record_has_its_line_in_order(name):
    assert [cells[0] for cells in rows(name)] == list(RECORDS[name]._fields)
    assert all(meaning for _, meaning in rows(name))


def test_every_section_is_of_a_record():
    sections = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)

    assert sections == ["Values of small fields", "Flags", *RECORDS]


def test_every_flag_has_its_bit():
    assert {name: int(bit) for bit, name, _ in rows("Flags")} == market.FLAG_NAMES


def test_every_letter_has_its_number():
    told = [cells for cells in rows("Values of small fields") if cells[0] in LETTERS]

    for field, values in LETTERS.items():
        assert [int(n) for name, n, *_ in told if name == field] == list(values)
    assert all(chr(int(number)) == letter for _, number, letter, _ in told)


def test_every_state_and_severity_has_its_word():
    told = {}
    for what, number, _, meaning in rows("Values of small fields"):
        record, _, field = what.replace("`", "").partition(" ")
        if field:
            word = meaning.partition(":")[0]
            told.setdefault(record, {}).setdefault(field, {})[int(number)] = word

    assert told == market.VALUES
