"""docs/STABILITY.md tells the limits that the code has; docs/COMPARED.md the figures measured."""

import re
from pathlib import Path

import pytest

from onetape.codecs.arbitration import HELD_MESSAGES
from onetape.codecs.moldudp64 import SEQUENCE_MAX
from onetape.codecs.rows_datagram import DATAGRAM_BYTES
from onetape.compiled.frame import PAYLOAD_MAX
from onetape.engine.digest import KEYS_MAX
from onetape.market.book import NOTIONAL_MAX, Book
from onetape.market.orders import PRICE_MAX, QTY_MAX
from onetape.runtimes.edge.lines import SLOT_BYTES
from onetape.runtimes.edge.network import NAMES
from onetape.surveillance.burst_cancel import REMEMBERED
from onetape.tape.layout import FORMAT
from onetape.tape.tape import SEGMENT_BYTES

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = (DOCS / "STABILITY.md").read_text("utf-8")
LIMITS = dict(re.findall(r"^\| (.+?) \| (.+) \|$", PAGE.split("## Limits")[1], re.M))
BOOK = Book.spec.capacity


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ("distinct instruments in one output", f"2^{KEYS_MAX.bit_length() - 1}"),
        ("lines of one feed", f"{len(NAMES)},"),
        ("payload of a frame (one read)", f"{PAYLOAD_MAX >> 20} MiB"),
        ("a datagram that comes in", f"{SLOT_BYTES:,}".replace(",", " ")),
        ("a datagram of rows", f"{DATAGRAM_BYTES:,}".replace(",", " ")),
        ("messages held behind a gap", f"{HELD_MESSAGES:,}".replace(",", " ")),
        ("sequence of a MoldUDP64 feed", f"2^{SEQUENCE_MAX.bit_length() - 1}"),
        ("an order book", f"{BOOK['orders']:,} live orders".replace(",", " ")),
        ("an order book", f"{BOOK['instruments']:,} instruments".replace(",", " ")),
        (
            "a price, a quantity, price times quantity of a trade in a book",
            f"2^{PRICE_MAX.bit_length() - 1} ticks, 2^{QTY_MAX.bit_length() - 1} lots, "
            f"2^{NOTIONAL_MAX.bit_length() - 1} ticklots",
        ),
        ("evidence of an alert", f"first {REMEMBERED} "),
        ("a segment of a tape", f"{SEGMENT_BYTES >> 20} MiB"),
    ],
)
def test_a_limit_is_what_the_page_says(of, said):
    assert said in LIMITS[of]


def test_the_format_of_the_tape_is_what_the_page_says():
    assert f"format {FORMAT}:" in PAGE


def test_the_figures_beside_others_are_those_that_were_measured():
    pages = [(DOCS / page).read_text("utf-8") for page in ("PERFORMANCE.md", "COMPARED.md")]
    measured, told = (
        re.findall(r"^\| ([A-Za-z]\w* [\d.]+) \|(.*)\|$", page.split("### Nexmark")[0], re.M)
        for page in pages
    )

    assert {n: re.findall(r"[\d.]+ M", text) for n, text in told} == {
        n: re.findall(r"[\d.]+ M", text) for n, text in measured
    }
    assert len(told) == 5
