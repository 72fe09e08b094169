"""The text of a function as it stands in its file: its tree, and places in it."""

import ast
import builtins
import dis
import functools
import linecache
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from onetape.records.places import Place


@dataclass(frozen=True)
class Text:
    """A function's tree, and the names that its module binds at its top."""

    path: str
    tree: ast.FunctionDef
    module_names: frozenset[str]


MISSING = object()  # what a name that is not known stands for


def read(function: Any) -> Text | None:
    """The text of a function; None where there is none, as at a prompt."""
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    linecache.checkcache(code.co_filename)
    module = _module("".join(linecache.getlines(code.co_filename)))
    if module is None:
        return None
    if code.co_name == "<lambda>":
        return _read_lambda(code, module)
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if first == code.co_firstlineno:
                return Text(code.co_filename, node, _bound(module))
    return None


def _read_lambda(code: Any, module: ast.Module) -> Text | None:
    """A line may have several: it is the one that all which its code loads stands in."""
    loads = [
        (at.lineno, at.col_offset)
        for step in dis.get_instructions(code)
        if step.opname.startswith(("LOAD", "RETURN_CONST"))
        and (at := step.positions)
        and at.col_offset != at.end_col_offset
    ]
    found = [
        node
        for node in ast.walk(module)
        if isinstance(node, ast.Lambda)
        and node.lineno == code.co_firstlineno
        and [a.arg for a in node.args.args] == [*code.co_varnames[: code.co_argcount]]
        and all(_begin(node.body) <= load < _end(node.body) for load in loads)
    ]
    if not found:
        return None
    node = min(found, key=lambda each: len(ast.unparse(each)))
    body = ast.copy_location(ast.Return(node.body), node.body)
    tree = ast.FunctionDef(name=code.co_name, args=node.args, body=[body], decorator_list=[])
    return Text(code.co_filename, ast.copy_location(tree, node), _bound(module))


def _begin(node: Any) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: Any) -> tuple[int, int]:
    return node.end_lineno, node.end_col_offset


def place_of(function: Any, parameter: str | None = None) -> Place | None:
    """Where a function is written, or one of its parameters; None without source."""
    text = read(function)
    if text is None:
        return None
    if parameter is not None:
        arguments = text.tree.args
        for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
            if argument.arg == parameter:
                return node_place(text, argument)
    return Place(text.path, text.tree.lineno)


def node_place(text: Text, node: Any) -> Place:
    """The piece of the file that a node is: marked whole if it is on one line."""
    end = node.end_col_offset if node.end_lineno == node.lineno else 0
    return Place(text.path, node.lineno, node.col_offset, end or 0)


def meaning(function: Any, node: ast.AST) -> Any:
    """What a name or a dotted name means in a function, outside of it; MISSING if not known yet."""
    if isinstance(node, ast.Attribute):
        owner = meaning(function, node.value)
        return MISSING if owner is MISSING else getattr(owner, node.attr, MISSING)
    if not isinstance(node, ast.Name):
        return MISSING
    code = function.__code__
    if node.id in code.co_freevars:
        try:
            return function.__closure__[code.co_freevars.index(node.id)].cell_contents
        except ValueError:  # bound later
            return MISSING
    if node.id in code.co_varnames or node.id in code.co_cellvars:
        return MISSING
    return function.__globals__.get(node.id, getattr(builtins, node.id, MISSING))


@functools.lru_cache(maxsize=64)
def _module(text: str) -> ast.Module | None:
    try:
        return ast.parse(text) if text else None
    except (SyntaxError, ValueError):
        return None


@functools.lru_cache(maxsize=64)
def _bound(module: ast.Module) -> frozenset[str]:
    """Names that a module binds outside of functions; '*' where it takes all of another."""
    return frozenset(_names(module))


def _names(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield child.name
            continue
        if isinstance(child, ast.alias):
            yield (child.asname or child.name).partition(".")[0]
        elif isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            yield child.id
        elif isinstance(child, ast.ExceptHandler) and child.name:
            yield child.name
        yield from _names(child)
