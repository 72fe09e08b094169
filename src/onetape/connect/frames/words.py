"""Text with a meaning: sides, letters, flags, symbols. Each distinct word is looked at once."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np

from onetape.connect.frames.converted import Converted, missing_of, shown
from onetape.records.market import ASK, BID, FLAG_NAMES, NO_SIDE

BUY = ("b", "buy", "bid", "buyer", "true")
SELL = ("s", "a", "sell", "ask", "offer", "seller", "false")
NEITHER = ("", "n", "none")
NOT_KNOWN = -1


def by_word(column: Any, meaning: Callable[[Any], int | None], why: str) -> Converted:
    """What `meaning` says of each distinct value; None: the value is bad."""
    words = column.dictionary_encode()
    table = np.array([_known(meaning(w.as_py())) for w in words.dictionary] + [0], np.int64)
    places = words.indices.fill_null(len(table) - 1).to_numpy(zero_copy_only=False)
    values = table[places]
    missing = missing_of(column)
    return Converted(
        values, missing, (values == NOT_KNOWN) & ~missing, lambda i: f"{shown(column, i)} {why}"
    )


def sides(column: Any, *, is_taker: bool) -> Converted:
    """BID, ASK or NO_SIDE of words, booleans (true: buy) or our own letters.

    is_taker  the words name the side of who traded; the field wants who rested: the other one
    """
    buy, sell = (ASK, BID) if is_taker else (BID, ASK)

    def meaning(word: Any) -> int | None:
        if isinstance(word, int) and not isinstance(word, bool):
            text = chr(word) if word in (ASK, BID, NO_SIDE) else "?"
        else:
            text = str(word).strip()
        text = text.lower()
        return (
            buy if text in BUY else sell if text in SELL else NO_SIDE if text in NEITHER else None
        )

    found = by_word(
        column, meaning, 'is no side; expected "buy"/"sell", "B"/"S", "B"/"A", true ...'
    )
    found.values[found.missing] = NO_SIDE
    found.missing[:] = False
    return found


def letters(column: Any) -> Converted:
    """The code of a single letter: `action`, `kind`."""
    return by_word(
        column,
        lambda word: ord(word) if len(word) == 1 and ord(word) < 256 else 0 if not word else None,
        "is not one letter",
    )


def flags(column: Any) -> Converted:
    """The bits of flags as `Table.to_arrow` writes them: 'late,stale'."""

    def meaning(text: str) -> int | None:
        bits = [FLAG_NAMES.get(word.strip()) for word in text.split(",") if word.strip()]
        return None if None in bits else sum(set(bits))  # type: ignore[arg-type]

    return by_word(column, meaning, f"is no flag; known are {', '.join(FLAG_NAMES)}")


def symbols(column: Any, ids: Mapping[str, int]) -> Converted:
    """The ids of symbols, by a dictionary that is given."""
    found = by_word(column, ids.get, "is not among the symbols")
    plain = found.why

    def why(i: int) -> str:
        near = get_close_matches(column[i].as_py(), ids, 1)
        return plain(i) + (f"; the nearest is {near[0]!r}" if near else "")

    found.why = why
    return found


def _known(value: int | None) -> int:
    return NOT_KNOWN if value is None else value
