"""Field types and units, as annotations. To a type checker each is an int or a float.

    ts_event_ns: ot.i64            a signed 64-bit field
    order_ids: ot.Array[ot.u64, 16]  sixteen of them, in place

Unit types name what an integer parameter counts, and parse what a person writes: a `Duration`
given as "5ms" is 5_000_000 (nanoseconds).
"""

import re
from dataclasses import dataclass
from dataclasses import field as attribute
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np

from onetape.records.errors import DeclarationError

LENGTH_MAX = 65536  # values of an array field
RESERVED = ("dtype", "fields", "version")  # what a record's class has: see declare.py

UNSET = -(2**63)
"""An i64 that is not known, such as the price of an empty side: never 0, never NaN.

```python
last_ticks: ot.i64 = ot.UNSET
```
"""


@dataclass(frozen=True)
class Field:
    """What an annotation says of a field: its scalar code ('i8', 'u4', ...) and its length.

    was  names it had in earlier versions: what `@record(was=...)` says of it
    """

    code: str
    length: int | None = None
    was: tuple[str, ...] = attribute(default=(), compare=False, repr=False)

    @property
    def word(self) -> str:
        """As it is declared: 'u32', 'u64[16]'."""
        return _WORDS[self.code] + ("" if self.length is None else f"[{self.length}]")

    def holds(self, value: Any) -> bool:
        """Can a field have this value?"""
        if self.length is not None:
            return False
        if self.code == "<f8":
            return isinstance(value, int | float)
        bounds = np.iinfo(self.code)
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return is_whole and int(bounds.min) <= value <= int(bounds.max)

    def numpy(self) -> Any:
        return self.code if self.length is None else (self.code, (self.length,))


_WORDS = {
    "<i8": "i64",
    "<i4": "i32",
    "<u8": "u64",
    "<u4": "u32",
    "<u2": "u16",
    "|u1": "u8",
    "<f8": "f64",
}


def field_called(word: str) -> Field | None:
    """The field that a `Field.word` tells of; None if it is none."""
    scalar, bracket, length = word.partition("[")
    code = {name: code for code, name in _WORDS.items()}.get(scalar)
    if code is None or not bracket:
        return None if code is None else Field(code)
    found = re.fullmatch(r"([1-9]\d{0,4})\]", length)
    return Field(code, int(found[1])) if found and int(found[1]) <= LENGTH_MAX else None


i64 = Annotated[int, Field("<i8")]
"""A signed field of 64 bits: prices, quantities, times. It alone can be `UNSET`.

```python
price_ticks: ot.i64
```
"""
i32 = Annotated[int, Field("<i4")]
"""A signed field of 32 bits.

```python
change_ticks: ot.i32
```
"""
u64 = Annotated[int, Field("<u8")]
"""A field for ids of 64 bits; an operator sees the same bits as a signed number.

```python
order_id: ot.u64
```
"""
u32 = Annotated[int, Field("<u4")]
"""A field of 32 bits without a sign: ids, counts, flags.

```python
instrument_id: ot.u32
```
"""
u16 = Annotated[int, Field("<u2")]
"""A field of 16 bits without a sign.

```python
rule: ot.u16
```
"""
u8 = Annotated[int, Field("|u1")]
"""A field of 8 bits without a sign: a letter, a state.

```python
side: ot.u8
```
"""
f64 = Annotated[float, Field("<f8")]
"""A float field. Prices are not floats: see `i64`.

```python
volatility: ot.f64
```
"""


class Array:
    """A field of fixed length, 1 to 65 536 values of one type.

    ```python
    order_ids: ot.Array[ot.u64, 16]
    ```
    """

    def __class_getitem__(cls, of: Any) -> Any:
        scalar, length = of
        field = field_of(scalar)
        if field is None or field.length is not None or not 0 < length <= LENGTH_MAX:
            raise DeclarationError(
                f"Array[{scalar!r}, {length!r}]: expected a scalar type and 1 to 65536"
            )
        return Annotated[list[int], Field(field.code, length)]


@dataclass(frozen=True)
class Unit:
    """The unit of an integer parameter and how its text form is read."""

    name: str

    def parse(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise DeclarationError(f"{value!r} is not a number of {self.name}")
        if isinstance(value, int):
            return value
        return parse_duration_ns(value) if self.name == "ns" else _parse_int(value, self.name)


# Any, to a type checker: a default may be text ("5ms"), the value an operator sees is an integer.
Duration = Annotated[Any, Unit("ns")]
"""A setting in ns, written as "250us", "5ms", "1s", "2m", "1h" or "1d".

```python
def on_trade(self, t: mk.Trade, *, max_age: ot.Duration = "5ms") -> None: ...
```
"""
Ticks = Annotated[Any, Unit("ticks")]
"""A setting in ticks, a whole number.

```python
def on_trade(self, t: mk.Trade, *, at_least: ot.Ticks = 5) -> None: ...
```
"""
Lots = Annotated[Any, Unit("lots")]
"""A setting in lots, a whole number.

```python
def on_trade(self, t: mk.Trade, *, above: ot.Lots = 1_000) -> None: ...
```
"""

_DURATION = re.compile(r"(\d+)\s*(ns|us|µs|ms|s|m|h|d)")
_DURATION_NS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}


def parse_duration_ns(text: int | str) -> int:
    """Nanoseconds of "250us", "5ms", "1s", "2m", "1h", "1d"; an int is nanoseconds already."""
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    if not isinstance(text, str):
        raise DeclarationError(f"duration was {text!r}; expected text such as '5ms', or whole ns")
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise DeclarationError(
            f"duration {text!r} is not a whole number and a unit; write for example '5ms' "
            f"(units: {', '.join(_DURATION_NS)})"
        )
    duration_ns = int(found[1]) * _DURATION_NS[found[2]]
    if duration_ns >= 1 << 62:
        raise DeclarationError(f"duration {text!r} is {duration_ns} ns; at most 146 years")
    return duration_ns


def _parse_int(text: str, unit: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise DeclarationError(f"{text!r} is not a whole number of {unit}") from None


def field_of(annotation: Any) -> Field | None:
    """The `Field` an annotation carries, or None."""
    if get_origin(annotation) is Annotated:
        for extra in get_args(annotation)[1:]:
            if isinstance(extra, Field):
                return extra
    return None


def unit_of(annotation: Any) -> Unit | None:
    """The `Unit` an annotation carries, or None."""
    if get_origin(annotation) is Annotated:
        for extra in get_args(annotation)[1:]:
            if isinstance(extra, Unit):
                return extra
    return None


def fields_of(cls: type) -> dict[str, Field]:
    """The fields a class declares, in order; DeclarationError names what is not a field type."""
    fields: dict[str, Field] = {}
    for name, annotation in get_type_hints(cls, include_extras=True).items():
        field = field_of(annotation)
        if field is None:
            raise DeclarationError(
                f"{cls.__qualname__}.{name}: {annotation!r} is not a field type; use one of "
                "i64, i32, u64, u32, u16, u8, f64 or Array[type, length]"
            )
        if name in RESERVED:
            raise DeclarationError(
                f"{cls.__qualname__}.{name}: every record has a {name!r} of its own; give the "
                "field another name"
            )
        if name.startswith("_"):
            raise DeclarationError(f"{cls.__qualname__}.{name}: a field may not start with _")
        fields[name] = field
    if not fields:
        raise DeclarationError(f"{cls.__qualname__} declares no fields")
    return fields


def layout(fields: dict[str, Field]) -> np.dtype[Any]:
    """The C layout of the fields, aligned, its size a multiple of 8 bytes."""
    described: Any = [(name, field.numpy()) for name, field in fields.items()]
    plain: Any = np.dtype(described, align=True)
    parts: Any = {
        "names": list(plain.names),
        "formats": [plain[name] for name in plain.names],
        "offsets": [plain.fields[name][1] for name in plain.names],
        "itemsize": -(-plain.itemsize // 8) * 8,
    }
    return np.dtype(parts)
