"""What is known of a method before its text is read: what its parameters are."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from onetape.records.types import Field


@dataclass(frozen=True)
class Known:
    """A name in a method that stands for one record in place."""

    kind: str  # 'event', 'state', 'row' (of an emitter) or 'record' (made here)
    called: str  # the record's or the operator's name
    fields: dict[str, Field]


@dataclass(frozen=True)
class Subject:
    """One method of an operator or aggregate, or a function that is one."""

    where: str  # 'Jumps.on_trade'
    function: Callable[..., Any]
    known: dict[str, Known]  # by parameter
    emitters: dict[str, Any] = field(default_factory=dict)  # by parameter: the record
    returns: Any = None  # the record of the return annotation
    is_annotated: bool = True  # has it a return annotation at all?
    cls: type | None = None  # where `self` belongs
