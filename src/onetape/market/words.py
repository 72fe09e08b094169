"""Words of a book's `meta`: its pools and its counters, in one place so that no two meet."""

from collections import Counter
from typing import Any

(
    USED,  # levels of the pool handed out so far
    LIVE,  # orders in the book
    ROWS,  # rows of orders handed out so far
    FREE,  # first free row of orders + 1
    PRIORITY,  # orders added so far
    # What changed nothing, or not as it said:
    UNKNOWN,  # an order that the book does not have (from before the recording, or lost)
    DUPLICATE,  # an id that is there already
    IMPLAUSIBLE,  # a price or quantity whose sums would not fit
    UNPRICED,  # an execution without a price
    OVERFILL,  # an execution of more than the order had
    LARGEST,  # class of the largest chunk of levels handed out so far
) = range(11)
FREE_CHUNKS = 16  # from here on one word a class: first free chunk + 1
META_WORDS = 64

COUNTERS = {
    "unknown order": UNKNOWN,
    "duplicate order id": DUPLICATE,
    "implausible price or quantity": IMPLAUSIBLE,
    "execution without a price": UNPRICED,
    "execution of more than was left": OVERFILL,
}


def counted(engine: Any) -> dict[str, int]:
    """What the books of an engine could not take as it was said, by the words for it."""
    found: Counter[str] = Counter()
    for number, node in enumerate(engine.plan.pipeline.nodes):
        if node.name in ("Book", "WithBook"):
            meta = engine.arrays[f"n{number}_meta"]
            found.update({said: int(meta[word]) for said, word in COUNTERS.items() if meta[word]})
    return dict(found)
