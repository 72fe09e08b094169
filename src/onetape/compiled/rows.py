"""Rows: one record of a block, in place, its fields read and written by attribute.

`row(block, i)` is a pointer in compiled code and a `RowView` in plain Python. Both read every
integer field as a signed 64-bit integer (so unsigned arithmetic never wraps or turns into a
float); a u64 field reads as its int64 bit pattern, because it is an opaque id, good only for
equality.
"""

from typing import Any

import numpy as np

from onetape.compiled.kernel import intrinsic

_WRAP = 1 << 64


class RowView:
    """The Python twin of a row. Assigning a value a field cannot hold raises OverflowError."""

    __slots__ = ("_block", "_index")

    def __init__(self, block: Any, index: int) -> None:
        if not 0 <= index < len(block):
            raise IndexError(f"row {index} of a block of {len(block)}")
        object.__setattr__(self, "_block", block)
        object.__setattr__(self, "_index", index)

    def __getattr__(self, name: str) -> Any:
        try:
            value = self._block[name][self._index]
        except ValueError:
            raise AttributeError(
                f"no field {name!r}; the record has {', '.join(self._block.dtype.names)}"
            ) from None
        return Cells(value) if isinstance(value, np.ndarray) else _plain(value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._block.dtype.names:
            raise AttributeError(
                f"no field {name!r}; the record has {', '.join(self._block.dtype.names)}"
            )
        self._block[name][self._index] = _fitting(self._block.dtype[name], value)

    def __repr__(self) -> str:
        fields = ", ".join(f"{n}={getattr(self, n)!r}" for n in self._block.dtype.names)
        return f"Row({fields})"


class FixedView(RowView):
    """The Python twin of a row that is only to be read."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        value = super().__getattr__(name)
        return value.fixed() if isinstance(value, Cells) else value

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"event field {name} is assigned to; an event is read by others too and is on the "
            "tape: keep what you need in your own state, or return a new record"
        )


class Cells:
    """The Python twin of an array field of a row: cells, or by a slice an array of them."""

    __slots__ = ("_values",)

    def __init__(self, values: Any) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._values[index]
        self._check(index)
        return _plain(self._values[index])

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, int):
            self._check(index)
        self._values[index] = _fitting(self._values.dtype, value)

    def _check(self, index: int) -> None:
        if not -len(self._values) <= index < len(self._values):
            raise IndexError(f"cell {index} of {len(self._values)}")

    def fixed(self) -> "Cells":
        """The same cells, only to be read."""
        values = self._values.view()
        values.flags.writeable = False
        return Cells(values)

    def __repr__(self) -> str:
        return repr([_plain(v) for v in self._values])


def _plain(value: Any) -> Any:
    if value.dtype == np.uint64:
        return int(value.view(np.int64))
    if value.dtype.kind in "iu":
        return int(value)
    return value.item()


def _fitting(dtype: Any, value: Any) -> Any:
    if dtype == np.uint64 and isinstance(value, int):
        return int(value) % _WRAP
    if dtype.kind in "iu" and isinstance(value, float):
        raise TypeError(f"an integer field ({dtype}) was given {value!r}: write int(x) out")
    return value


@intrinsic
def row(block: Any, index: int) -> Any:
    """Row `index` of a record block, in place."""
    return RowView(block, index)


@intrinsic
def fixed(one: Any) -> Any:
    """The same row, read-only."""
    return FixedView(one._block, one._index)


@intrinsic
def clear_row(block: Any, index: int) -> Any:
    """Zero row `index`, padding included, and return it."""
    block.view(np.uint8).reshape(len(block), -1)[index] = 0
    return RowView(block, index)


@intrinsic
def copy_row(target: Any, i: int, source: Any, j: int) -> None:
    """target[i] = source[j], byte for byte; both blocks hold the same record."""
    _bytes_of(target)[i] = _bytes_of(source)[j]


@intrinsic
def row_at(like: Any, buffer: Any, at: int) -> Any:
    """The record at buffer[at:] of bytes, in place; of the same type as the block `like`."""
    size = like.dtype.itemsize
    if at < 0 or at + size > len(buffer):
        raise IndexError(f"{size} bytes at {at} of a buffer of {len(buffer)}")
    return RowView(buffer[at : at + size].view(like.dtype), 0)


@intrinsic
def put_row(target: Any, i: int, source: Any) -> None:
    """target[i] = the row `source`, byte for byte; both are of the same record."""
    _bytes_of(target)[i] = _bytes_of(source._block)[source._index]


def _bytes_of(block: Any) -> Any:
    return block.view(np.uint8).reshape(len(block), -1)
