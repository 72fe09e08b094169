"""Where in a person's own code something was written: file, line, and the piece of the line.

An error that is found later, when a pipeline is planned, can point at the text that caused it:

    pipeline.py:12: Trade has no field 'prise_ticks' (did you mean 'price_ticks'?)
        far = trades.filter(c.prise_ticks > 10)
                            ^^^^^^^^^^^^^
"""

import itertools
import linecache
import sys
from dataclasses import dataclass
from pathlib import Path

OWN = str(Path(__file__).parents[1])
GENERATED = "<string>"  # what a dataclass's methods are called


@dataclass(frozen=True)
class Place:
    """A piece of source text. Columns count UTF-8 bytes from 0; `end` is 0 where unknown."""

    path: str
    line: int
    column: int = 0
    end: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"

    def says(self, what: str) -> str:
        """An error message: where, what, and the line with the piece marked."""
        text = linecache.getline(self.path, self.line).rstrip("\n")
        said = f"{self}: {what}"
        if not text.strip():
            return said
        shift = len(text) - len(text.lstrip())
        said += f"\n    {text.lstrip()}"
        if self.end > self.column >= shift:
            said += f"\n    {' ' * (self.column - shift)}{'^' * (self.end - self.column)}"
        return said


def here() -> Place:
    """The place outside of this package that the call came from. Microseconds; not for a loop."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((OWN, GENERATED)):
        frame = frame.f_back
    code, at = frame.f_code, frame.f_lasti
    found = next(itertools.islice(code.co_positions(), at // 2, None), None)
    line, end_line, column, end = found or (None, None, None, None)
    if line is None or column is None or end is None or end_line != line:
        return Place(code.co_filename, frame.f_lineno)
    return Place(code.co_filename, line, column, end)
