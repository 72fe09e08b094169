"""What a conversion of a column comes to: values, which rows are bad, and why.

A column is converted whole, by Arrow or NumPy. Only for rows that do not convert is there Python,
row by row: to say what is wrong with them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Converted:
    """One field of a block of rows.

    values   of all rows; of those that are bad or missing, anything
    missing  rows without a value (null, NaN)
    bad      rows whose value cannot be taken; `why(i)` says it of row i
    """

    values: Any
    missing: Any
    bad: Any
    why: Callable[[int], str]


def missing_of(column: Any) -> Any:
    """Which rows of an Arrow column are null, as a NumPy mask."""
    return column.is_null().to_numpy(zero_copy_only=False)


def cast_what_can_be(column: Any, to: Any) -> tuple[Any, Any]:
    """(the column cast to type `to`, mask of the rows that are not null and would not cast).

    Arrow casts all or nothing, so what fails is halved until the rows at fault are alone.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return pc.cast(column, to), np.zeros(len(column), bool)
    except pa.ArrowInvalid:
        if len(column) == 1:
            return pa.nulls(1, to), np.ones(1, bool)
    middle = len(column) // 2
    parts = [cast_what_can_be(part, to) for part in (column[:middle], column[middle:])]
    return pa.concat_arrays([part[0] for part in parts]), np.concatenate([p[1] for p in parts])


def shown(column: Any, i: int) -> str:
    """A value of a column, for a message."""
    import pyarrow as pa

    value = column[i]
    if pa.types.is_timestamp(column.type):
        return str(value.cast(pa.string()))
    if pa.types.is_float32(column.type):
        return str(np.float32(value.as_py()))
    return repr(value.as_py()) if pa.types.is_string(column.type) else str(value.as_py())
