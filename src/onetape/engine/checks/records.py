"""Records as they are made and given back: as many values as fields, of kinds that fit."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from onetape.records import is_record
from onetape.records.types import Field

if TYPE_CHECKING:
    from onetape.engine.checks.walk import Walk

WHOLE = ("floor", "ceil", "trunc", "gcd", "lcm", "isqrt", "comb", "perm", "factorial")  # of math
TESTS = ("isnan", "isinf", "isfinite", "isclose")
IN_WHOLE_NUMBERS = "compute in integers (//), or write int(x) where cutting off is meant"


def check_arguments(walk: Walk, node: ast.Call, of: Any) -> None:
    """A record is made: each field once, and what is given must fit."""
    names = list(of._fields)
    if any(isinstance(a, ast.Starred) for a in node.args) or any(not k.arg for k in node.keywords):
        return
    count = len(node.args)
    if count > len(names):
        walk.refuse(
            node,
            f"{of.__name__} has {len(names)} fields, was given {count}: it takes "
            f"{of.__name__}({', '.join(names)})",
        )
    given = dict(zip(names, node.args, strict=False))
    for keyword in node.keywords:
        if keyword.arg not in names:
            from onetape.engine.checks.walk import near

            hint = near(str(keyword.arg), names)
            walk.refuse(node, f"{of.__name__} has no field {keyword.arg!r}{hint}")
        if keyword.arg in given:
            walk.refuse(node, f"{of.__name__}: {keyword.arg} is given twice")
        given[str(keyword.arg)] = keyword.value
    missing = [name for name in names if name not in given]
    if missing:
        default = of._field_defaults.get(missing[0])
        walk.refuse(
            node,
            f"{of.__name__} lacks {', '.join(missing)}; it takes {of.__name__}({', '.join(names)})"
            + (
                ""
                if default is None
                else "; in an operator every field is given, also one with a "
                f"default: {missing[0]}={default!r}"
            ),
        )
    for name, value in given.items():
        field = of.fields[name]
        if field.length is not None:
            walk.refuse(
                node,
                f"{of.__name__}.{name} is an array, which cannot be given like this; take an "
                f"emitter (out: ot.UpTo[1, {of.__name__}]), and write row = out.row(), "
                f"row.{name}[i] = ...",
            )
        check_fits(walk, value, field, f"{of.__name__}.{name}")


def check_fits(walk: Walk, value: ast.AST, field: Field, where: str) -> None:
    """May this value go into that field? Only what is sure is refused."""
    holds = "a number" if field.code == "<f8" else "an integer"
    if isinstance(value, ast.Constant) and not isinstance(value.value, int | float):
        remedy = "what is not known yet is ot.UNSET" if value.value is None else "give a number"
        walk.refuse(value, f"{where} holds {holds} and is given {value.value!r}; {remedy}")
    if isinstance(value, ast.Tuple | ast.List):
        walk.refuse(value, f"{where} holds one number and is given several; declare a field each")
    known = walk.known_of(value)
    if known is not None:
        walk.refuse(
            value, f"{where} holds one number and is given a whole {known.called}; name a field"
        )
    if field.code == "<f8":
        return
    if is_float(walk, value):
        walk.refuse(value, f"{where} holds an integer and is given a float; {IN_WHOLE_NUMBERS}")
    source = _field(walk, value)
    if source is not None and _bits(source) > _bits(field) and source.length is None:
        walk.refuse(
            value,
            f"{where} has {_bits(field)} bits and is given a field of {_bits(source)}, which would "
            f"be cut off in silence; declare it as wide as that, or write {ast.unparse(value)} & "
            f"{(1 << _bits(field)) - 1:#x} where cutting off is meant",
        )
    if (
        isinstance(value, ast.Constant)
        and isinstance(value.value, int)
        and value.value >= 1 << _bits(field)
    ):
        walk.refuse(value, f"{where} has {_bits(field)} bits and is given {value.value}")


def check_return(walk: Walk, value: ast.AST, of: Any, says: str) -> None:
    """What is returned or appended is the record that was declared, or for a return None."""
    is_return = says.startswith("the annotation")
    if isinstance(value, ast.IfExp):
        check_return(walk, value.body, of, says)
        check_return(walk, value.orelse, of, says)
        return
    if is_return and isinstance(value, ast.Constant) and value.value is None:
        return
    found = _made(walk, value)
    if of is None:
        _check_no_return(walk, value, found)
    elif found is not None and found != of.__name__:
        walk.refuse(value, f"a record {found} is given, and {says} {of.__name__}")
    elif found is None and (
        isinstance(value, ast.Tuple | ast.List | ast.Constant | ast.Compare | ast.BinOp | ast.Dict)
        or _field(walk, value) is not None
        or is_float(walk, value)
    ):
        fields = ", ".join(of._fields)
        walk.refuse(
            value,
            f"{_kind(value)} is given, and {says} {of.__name__}; write {of.__name__}({fields})",
        )


def _check_no_return(walk: Walk, value: ast.AST, found: str | None) -> None:
    emitters = list(walk.subject.emitters)
    if emitters:
        walk.refuse(
            value, f"it takes emitters, so it returns nothing; write {emitters[0]}.append(...)"
        )
    said = "no return annotation" if not walk.subject.is_annotated else "the annotation None"
    walk.refuse(
        value, f"it returns a value and has {said}; write -> {found or 'Record'} | None in its def"
    )


def is_float(walk: Walk, value: ast.AST) -> bool:
    """Is it surely a float? Division is, also of integers that divide."""
    if isinstance(value, ast.Constant):
        return isinstance(value.value, float)
    if isinstance(value, ast.BinOp):
        if isinstance(value.op, ast.Div):
            return True
        return is_float(walk, value.left) or is_float(walk, value.right)
    if isinstance(value, ast.UnaryOp):
        return not isinstance(value.op, ast.Not) and is_float(walk, value.operand)
    if isinstance(value, ast.IfExp):
        return is_float(walk, value.body) or is_float(walk, value.orelse)
    if isinstance(value, ast.Call):
        found = walk.means(value.func)
        name = getattr(found, "__name__", "")
        of_math = getattr(found, "__module__", "") == "math" and name not in (*WHOLE, *TESTS)
        return found is float or of_math
    field = _field(walk, value)
    return field is not None and field.code == "<f8"


def _field(walk: Walk, value: ast.AST) -> Field | None:
    """The field of an event that this is, as it stands."""
    known = walk.known_of(value.value) if isinstance(value, ast.Attribute) else None
    if known is None or not isinstance(value, ast.Attribute):
        return None
    field = known.fields.get(value.attr)
    if known.kind == "state" and field is not None and field.code != "<f8":
        return None  # integers of state are as wide as the widest they were made of
    return field


def _made(walk: Walk, value: ast.AST) -> str | None:
    """The record that an expression surely is, by name."""
    known = walk.known_of(value)
    if known is not None:
        return known.called
    found: Any = walk.means(value.func) if isinstance(value, ast.Call) else None
    return found.__name__ if is_record(found) else None


def _kind(value: ast.AST) -> str:
    if isinstance(value, ast.Tuple):
        return "a tuple"
    if isinstance(value, ast.List | ast.Dict):
        return f"a {type(value).__name__.lower()}"
    return repr(value.value) if isinstance(value, ast.Constant) else "a number"


def _bits(field: Field) -> int:
    return int(field.code[-1]) * 8
