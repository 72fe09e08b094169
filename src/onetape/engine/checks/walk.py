"""Walk through the text of a method, and refuse the first thing that cannot be in it."""

import ast
import builtins
import difflib
import types
from collections import Counter
from collections.abc import Iterable
from typing import Any, NoReturn

from onetape.compiled.kernel import Kernel
from onetape.engine.checks.records import (
    check_arguments,
    check_fits,
    check_return,
    is_float,
)
from onetape.engine.checks.source import MISSING, Text, meaning, node_place
from onetape.engine.checks.subject import Known, Subject
from onetape.engine.checks.words import ALLOCATING, BUILTINS, CLOCKS, NOT_ON_THE_TAPE, SYNTAX
from onetape.records import DeclarationError, is_record

PLAIN = "{} is plain Python, which an operator cannot call; write @ot.kernel above its def"
FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)
LIBRARIES = ("math", "numpy", "onetape", "operator", "builtins", "enum")


def near(name: str, known: Iterable[str]) -> str:
    """'; did you mean ...?', or what there is."""
    found = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {found[0]!r}?" if found else f"; it has {', '.join(known)}"


class Walk(ast.NodeVisitor):
    """One method. What is known of names is known of names that are bound once."""

    def __init__(self, subject: Subject, text: Text) -> None:
        self.subject, self.text = subject, text
        stored = [n.id for n in ast.walk(text.tree) if isinstance(n, ast.Name) and _is_bound(n)]
        self._times_bound = Counter(stored)
        self.known = {n: k for n, k in subject.known.items() if n not in self._times_bound}
        events = [n for n, k in subject.known.items() if k.kind == "event"]
        self._event = events[0] if events else "event"

    def run(self) -> None:
        for statement in self.text.tree.body:
            self.visit(statement)

    def refuse(self, node: ast.AST, what: str) -> NoReturn:
        place = node_place(self.text, node)
        raise DeclarationError(place.says(f"{self.subject.where}: {what}"))

    def means(self, node: ast.AST) -> Any:
        """What a name means outside of this method; MISSING for its own variables."""
        return meaning(self.subject.function, node)

    def known_of(self, node: ast.AST) -> Known | None:
        return self.known.get(node.id) if isinstance(node, ast.Name) else None

    def visit(self, node: ast.AST) -> None:
        if type(node) in SYNTAX:
            self.refuse(node, SYNTAX[type(node)])
        super().visit(node)

    # --- names -----------------------------------------------------------------------------------

    def visit_Name(self, node: ast.Name) -> None:
        code = self.subject.function.__code__
        if not isinstance(node.ctx, ast.Load) or node.id in self._times_bound:
            return
        if node.id in (*code.co_varnames, *code.co_cellvars):
            return
        found = self.means(node)
        if found is MISSING:
            if node.id in code.co_freevars or self.text.module_names & {node.id, "*"}:
                return  # bound below, before the operator runs
            names = [*code.co_varnames, *self.text.module_names]
            hint = difflib.get_close_matches(node.id, names, 1)
            if self.subject.cls is not None and hasattr(self.subject.cls, node.id):
                hint = [f"self.{node.id}"]
            did = f"; did you mean {hint[0]!r}?" if hint else " here or in the file"
            self.refuse(node, f"the name {node.id!r} is not defined{did}")
        if isinstance(found, list | dict | set | bytearray):
            kind = type(found).__name__
            self.refuse(
                node,
                f"{node.id} is a {kind}, which anybody may change: an operator reads constants "
                "(numbers, tuples of numbers) and its own state; "
                + ("write a tuple" if kind == "list" else "make it settings, state or a kernel"),
            )

    def visit_Attribute(self, node: ast.Attribute) -> None:
        known = self.known_of(node.value)
        if known is not None and node.attr not in known.fields:
            self._no_field(node, known)
        owner = self.means(node.value)
        if isinstance(owner, types.ModuleType) and not hasattr(owner, node.attr):
            hint = difflib.get_close_matches(node.attr, dir(owner), 1)
            did = f"; did you mean {hint[0]!r}?" if hint else ""
            self.refuse(node, f"{owner.__name__} has no {node.attr!r}{did}")
        self.visit(node.value)

    def _no_field(self, node: ast.Attribute, known: Known) -> NoReturn:
        name = node.attr
        if name.startswith("_"):
            self.refuse(
                node, f"{name} does not compile; make a new {known.called} of the fields by name"
            )
        if known.kind == "state":
            found = getattr(self.subject.cls, name, MISSING)
            if isinstance(found, types.FunctionType):
                self.refuse(
                    node,
                    f"self.{name} is a method, and the compiler knows only fields of self; make "
                    "it a function with @ot.kernel above its def, and give it what it needs",
                )
            if found is not MISSING:
                self.refuse(
                    node,
                    f"{known.called}.{name} has no type, so it is not state; write "
                    f"'{name}: ot.i64 = {found!r}', or make it a constant of the file",
                )
            if not difflib.get_close_matches(name, known.fields, 1):
                self.refuse(
                    node,
                    f"{known.called} has no state {name!r}; write '{name}: ot.i64 = 0' in the "
                    "class, above its methods",
                )
            self.refuse(node, f"{known.called} has no state {name!r}{near(name, known.fields)}")
        self.refuse(node, f"{known.called} has no field {name!r}{near(name, known.fields)}")

    # --- calls -----------------------------------------------------------------------------------

    def visit_Call(self, node: ast.Call) -> None:
        self._check_emitter(node)
        found = self.means(node.func)
        if found is not MISSING:
            self._check_call(node, found)
        elif isinstance(node.func, ast.Name) and node.func.id == self.text.tree.name:
            if node.func.id not in self._times_bound:
                self.refuse(node, "it calls itself; an operator is called once for each event")
        self.generic_visit(node)

    def _check_call(self, node: ast.Call, found: Any) -> None:
        said = ast.unparse(node.func)
        for home in (_home(found), _home(getattr(found, "__self__", None))):
            if home in NOT_ON_THE_TAPE or (home == "numpy" and ".random." in said):
                what = NOT_ON_THE_TAPE[home if home in CLOCKS else "random"]
                self.refuse(node, f"{said}() {what.format(event=self._event)}")
        if is_record(found):
            check_arguments(self, node, found)
        elif said in BUILTINS and found is getattr(builtins, said):
            self.refuse(node, f"{said}() is called: {BUILTINS[said]}")
        elif _home(found) == "numpy":
            if getattr(found, "__name__", "") in ALLOCATING:
                self.refuse(
                    node,
                    f"{said}() makes an array, and an operator allocates nothing while it runs; "
                    "declare it as state: cells: ot.Array[ot.i64, 16]",
                )
        elif isinstance(found, Kernel) or hasattr(found, "py_func"):
            return
        elif isinstance(found, types.FunctionType) and found.__module__ == self._module():
            self.refuse(node, PLAIN.format(said))
        elif hasattr(found, "spec"):
            self.refuse(
                node,
                f"{said} is an operator, and is called inside of one; connect them where the "
                f"pipeline is made: {said}(stream)",
            )
        elif _home(found) not in LIBRARIES and isinstance(found, FUNCTIONS):
            self.refuse(
                node,
                f"{said}() does not compile; an operator may call math, NumPy's "
                "functions of numbers, and functions with @ot.kernel above their def",
            )

    def _module(self) -> str:
        return str(self.subject.function.__module__)

    def _check_emitter(self, node: ast.Call) -> None:
        call = node.func
        if not (isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name)):
            return
        name = call.value.id
        of = self.subject.emitters.get(name)
        if of is None:
            return
        if call.attr not in ("append", "row"):
            self.refuse(
                node,
                f"{name}.{call.attr} is not there; write {name}.append({of.__name__}(...)), or "
                f"row = {name}.row() and set its fields",
            )
        if call.attr == "append":
            if len(node.args) != 1 or node.keywords:
                self.refuse(
                    node,
                    f"{name}.append takes one record, was given {len(node.args)} values; write "
                    f"{name}.append({of.__name__}(...))",
                )
            check_return(self, node.args[0], of, f"{name} takes")

    # --- assignments -----------------------------------------------------------------------------

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self._assign(target, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)
            self._assign(node.target, node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        value = ast.BinOp(node.target, node.op, node.value)
        self._assign(node.target, ast.copy_location(value, node))

    def _assign(self, target: ast.AST, value: ast.AST) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            values = value.elts if isinstance(value, ast.Tuple | ast.List) else []
            for n, part in enumerate(target.elts):
                self._assign(part, values[n] if n < len(values) else ast.Pass())
            return
        if isinstance(target, ast.Starred):
            self.refuse(target, "*name = ... does not compile in an operator; name each value")
        if isinstance(target, ast.Name):
            self._learn(target.id, value)
            return
        self.visit(target)
        cells = target.value if isinstance(target, ast.Subscript) else target
        if not isinstance(cells, ast.Attribute):
            return
        known = self.known_of(cells.value)
        if known is None:
            return
        if known.kind == "event":
            self.refuse(
                target,
                f"event field {cells.attr} is assigned to; an event is read by others too and is "
                "on the tape: keep what you need in your own state, or return a new record",
            )
        if known.kind == "record":
            self.refuse(
                target,
                f"a {known.called} is made whole; give the value of {cells.attr} where it is made",
            )
        if cells is not target:
            self._check_slices(target, value)
        elif known.fields[cells.attr].length is not None:
            self.refuse(
                target,
                f"{known.called}.{cells.attr} is an array, in place; write its cells: "
                f"for i in range({known.fields[cells.attr].length}): "
                f"{ast.unparse(target)}[i] = ...",
            )
        check_fits(self, value, known.fields[cells.attr], f"{known.called}.{cells.attr}")

    def _check_slices(self, target: ast.AST, value: ast.AST) -> None:
        if not (isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Slice)):
            return
        of = value
        if isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Slice):
            of = value.value
        known = self.known_of(of.value) if isinstance(of, ast.Attribute) else None
        if known is None or not isinstance(of, ast.Attribute):
            return
        if known.fields[of.attr].length is not None:
            self.refuse(
                value,
                f"{ast.unparse(target)} is given a part of an array, for which the compiler would "
                f"allocate; copy the cells one by one: for i in range(n): "
                f"{ast.unparse(target.value)}[i] = {ast.unparse(of)}[i]",
            )

    def _learn(self, name: str, value: ast.AST) -> None:
        """A variable that is bound once, to a new record or a row of an emitter."""
        if self._times_bound[name] != 1 or not isinstance(value, ast.Call):
            return
        call = value.func
        made = self.means(call)
        if is_record(made):
            self.known[name] = Known("record", made.__name__, made.fields)
        elif isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name):
            of = self.subject.emitters.get(call.value.id)
            if of is not None and call.attr == "row":
                self.known[name] = Known("row", of.__name__, of.fields)

    # --- what goes out, and what is compared -----------------------------------------------------

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is None:
            return
        check_return(self, node.value, self.subject.returns, "the annotation says")
        self.visit(node.value)

    def visit_Compare(self, node: ast.Compare) -> None:
        sides = [node.left, *node.comparators]
        fields = [s for s in sides if isinstance(s, ast.Attribute) and self.known_of(s.value)]
        for side in sides:
            if not fields or not isinstance(side, ast.Constant):
                continue
            said = ast.unparse(fields[0])
            if side.value is None:
                self.refuse(
                    node,
                    f"{said} is a number, never None; what is not known yet is ot.UNSET: "
                    f"{said} == ot.UNSET",
                )
            if isinstance(side.value, str):
                letter = len(side.value) == 1
                self.refuse(
                    node,
                    f"{said} is a number and is compared with a text; "
                    + (f"write ord({side.value!r})" if letter else "compare with its number"),
                )
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        made = node.exc
        if isinstance(made, ast.Call):
            given = [*made.args, *(k.value for k in made.keywords)]
            if len(given) > 1 or any(not isinstance(a, ast.Constant) for a in given):
                self.refuse(
                    made,
                    f"an error is raised with values in it; give it one fixed text: "
                    f"raise {ast.unparse(made.func)}('...'); the message says which event it was",
                )
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if is_float(self, node.slice):
            self.refuse(node.slice, "a cell is asked for by a float; write // for whole numbers")
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """A function inside has names of its own: it is left to the compiler."""

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Likewise."""


def _is_bound(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store | ast.Del)


def _home(found: Any) -> str:
    """The package that a function, class or bound method comes from."""
    module = getattr(found, "__module__", None) or getattr(type(found), "__module__", "")
    return str(module).partition(".")[0]
