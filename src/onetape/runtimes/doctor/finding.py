"""What a check of `onetape doctor` returns."""

from typing import NamedTuple

OK, BETTER, MISSING = "ok", "could be better", "missing"


class Finding(NamedTuple):
    """One line: what was looked at, how it is, what was found, and what to type about it.

    MISSING is for what onetape cannot run without; all else that is not OK is BETTER.
    """

    what: str
    verdict: str
    found: str
    fix: str = ""
