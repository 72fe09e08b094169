"""How long a node keeps what it knows of a key, and what it does when it may hold no more keys.

    Sums(trades, ttl="10m")         # a key not seen for ten minutes is forgotten
    Sums(trades, capacity={"keys": 1_000_000}, when_full="evict_oldest")

Both are decided by what is on the tape alone: time is the pipeline's (the watermark, as the event
finds it), and old is what was seen longest ago in the order of the tape.
"""

from dataclasses import dataclass
from typing import Any

from onetape.records import DeclarationError
from onetape.records.types import parse_duration_ns

HALT, DROP_NEW, EVICT_OLDEST = "halt", "drop_new", "evict_oldest"
WHEN_FULL = (HALT, DROP_NEW, EVICT_OLDEST)  # the kernels know them by their places here
_MEANING = {
    HALT: "at capacity the pipeline halts and says so",
    DROP_NEW: "at capacity events of further keys are left out, and counted",
    EVICT_OLDEST: "at capacity the key seen longest ago is forgotten, and counted",
}


@dataclass(frozen=True)
class Keeping:
    """What bounds the keys of a node. ttl_ns 0: a key is kept for good."""

    ttl_ns: int = 0
    when_full: str = HALT

    @property
    def is_ordered(self) -> bool:
        """Must it be known which key was seen longest ago?"""
        return self.ttl_ns > 0 or self.when_full == EVICT_OLDEST

    @property
    def is_plain(self) -> bool:
        """Nothing is said: keys stay, and the pipeline halts when there are too many."""
        return self == PLAIN

    def line(self, limits: str) -> str:
        """For a person."""
        ttl = f"; a key not seen for {self.ttl_ns:,} ns is forgotten" if self.ttl_ns else ""
        return f"at most {limits}; {_MEANING[self.when_full]}{ttl}"

    def facts(self) -> dict[str, Any]:
        """For a manifest: what was said."""
        said = {"ttl_ns": self.ttl_ns} if self.ttl_ns else {}
        return said | ({"when_full": self.when_full} if self.when_full != HALT else {})


PLAIN = Keeping()


def keeping(name: str, when_full: str = HALT, ttl: str | int | None = None) -> Keeping:
    """As declared for the node `name`; DeclarationError if it cannot be."""
    if when_full not in WHEN_FULL:
        raise DeclarationError(
            f"{name}: when_full was {when_full!r}; expected {', '.join(map(repr, WHEN_FULL))}"
        )
    ttl_ns = 0 if ttl is None else parse_duration_ns(ttl)
    if ttl is not None and not 0 < ttl_ns < 1 << 62:
        raise DeclarationError(f"{name}: ttl was {ttl!r}; expected a time, such as '10m'")
    return Keeping(ttl_ns, when_full)
