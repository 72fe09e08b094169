"""Two lists of records, told apart: the rows that differ, as a table, with the fields that do."""

from typing import Any

from onetape.records import is_record
from onetape.records.types import UNSET

ROWS_MOST = 12


def difference(left: Any, right: Any) -> list[str] | None:
    """Lines that show where two lists of one record differ; None if that is not what they are."""
    if not (isinstance(left, list) and isinstance(right, list)):
        return None
    kinds = {type(made) for made in left + right}
    if len(kinds) != 1 or not is_record(*kinds):
        return None
    (of,) = kinds
    pairs = [
        (left[i] if i < len(left) else None, right[i] if i < len(right) else None)
        for i in range(max(len(left), len(right)))
    ]
    numbers = [i for i, (a, b) in enumerate(pairs) if a != b]
    table = [["", "row", *of._fields]]
    for i in numbers[:ROWS_MOST]:
        a, b = pairs[i]
        for mark, made, other in (("-", a, b), ("+", b, a)):
            if made is not None:
                table.append([mark, str(i), *_cells(made, other)])
    widths = [max(map(len, column)) for column in zip(*table)]
    shown = ["  ".join(cell.rjust(w) for cell, w in zip(line, widths)).rstrip() for line in table]
    lines = [
        f"{len(left)} and {len(right)} rows of {of.__name__}, {len(numbers)} of them not the same "
        "(- left, + right, * differs)",
        *shown,
    ]
    if len(numbers) > ROWS_MOST:
        lines.append(f"... and {len(numbers) - ROWS_MOST} more")
    return lines


def _cells(made: Any, other: Any) -> list[str]:
    values = ["UNSET" if value == UNSET else str(value) for value in made]
    if other is None:
        return values
    return [f"*{shown}" if a != b else shown for shown, a, b in zip(values, made, other)]
