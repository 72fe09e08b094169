"""A plan becomes a function: compiled once, found on disk ever after, or plain Python.

The generated module is written to the cache folder under the hash of all it depends on, so it can
be read, stepped through, and never be stale. It is compiled for exactly the arrays it will get;
after that no other signature is accepted (a read-only or strided array must not recompile mid-run).
"""

import pickle
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onetape.compiled import cache, mode, modules
from onetape.compiled.kernel import Kernel, compile_function
from onetape.engine import closure
from onetape.engine.apart import Apart
from onetape.engine.compiler_words import in_words
from onetape.engine.emit import put
from onetape.engine.planner import Plan
from onetape.records import DeclarationError


def driver(plan: Plan, arguments: list[Any]) -> Callable[..., int]:
    """The plan's `turn` for these arguments, in the current mode."""
    if any(isinstance(thing, Apart) for thing in plan.names.values()):
        return _in_parts(plan, arguments)
    return generated(plan.text, plan.names, "turn", arguments)


def generated(
    text: str, names: dict[str, Any], function: str, arguments: list[Any]
) -> Callable[..., int]:
    """The function of that name in a generated module, for exactly these arguments."""
    if mode.is_interpreted():
        folder = _folder(text, names)
        plain = {name: _plain(thing) for name, thing in names.items()}
        return modules.load(folder, text, plain).__dict__[function]  # type: ignore[no-any-return]
    from onetape.compiled import intrinsics

    signature = intrinsics.signature(arguments)
    known = (_folder(text, names), function, signature)
    if known not in _LOADED:
        _LOADED[known] = _compiled(text, names, function, signature, known[0])
    return _LOADED[known]


_LOADED: dict[Any, Any] = {}  # what this process has, by folder, function and signature
_COMPILED: list[Path] = []  # folders of what this process did not find on disk
_WARM: dict[Path, Any] = {}  # what this process has compiled in parts, by folder


def warm() -> dict[Path, Any]:
    """What this process has compiled in parts."""
    return dict(_WARM)


def compiled_count() -> int:
    """How much this process has compiled, or is compiling, that was not on disk."""
    return len(_COMPILED)


def _in_parts(plan: Plan, arguments: list[Any]) -> Callable[..., int]:
    """A driver that calls its operators by pointer: only what is new is compiled.

    The types an operator is called with are kept beside the driver's machine code: where that is
    found on disk, nothing is inferred.
    """
    from onetape.compiled import intrinsics

    signature = intrinsics.signature(arguments)
    folder = _folder(f"{plan.text}{signature}", plan.names)
    parts = {n: thing for n, thing in plan.names.items() if isinstance(thing, Apart)}
    pointers = {n: intrinsics.Pointer(f"onetape_{folder.name}_{n}") for n in parts}
    kinds = folder / "kinds.pickle"
    if folder not in _WARM:
        forms = {n: intrinsics.called_by(pointers[n], p.count) for n, p in parts.items()}
        names = plan.names | forms
        if not kinds.exists():  # machine code without them is of no use
            for path in folder.rglob("*.nb?"):
                path.unlink(missing_ok=True)
        _WARM[folder] = _compiled(plan.text, names, "turn", signature, folder)
        if not kinds.exists():
            found = {n: pointer.kinds for n, pointer in pointers.items()}
            modules.write(kinds, pickle.dumps(found))
        _WARM[kinds] = pickle.loads(kinds.read_bytes())
    for name, part in parts.items():
        text = part.text(_WARM[kinds][name])
        used = {"function": part.function, "put": put}
        where = _folder(text, used)
        if where not in _WARM:
            _WARM[where] = _compiled(text, used, "call", _WARM[kinds][name])
        pointers[name].set(_WARM[where])
    return _WARM[folder]  # type: ignore[no-any-return]


def _compiled(
    text: str,
    names: dict[str, Any],
    function: str,
    signature: tuple[Any, ...],
    folder: Path | None = None,
) -> Any:
    folder = folder or _folder(text, names)
    module = modules.load(folder, text, names)
    from onetape.compiled import intrinsics
    from onetape.engine import emit

    emit.teach_compiler()
    for name, thing in names.items():
        if isinstance(thing, types.FunctionType):
            module.__dict__[name] = compile_function(positional(thing), None)
    functions = {n: thing for n, thing in names.items() if isinstance(thing, types.FunctionType)}
    checked = mode.current() == "boundscheck"
    if not any(folder.rglob("*.nbi")):
        _COMPILED.append(folder)
    made = intrinsics.jit(module.__dict__[function], str(folder), boundscheck=checked, inline=False)
    try:
        made.compile(signature)
    except Exception as error:  # of the compiler, also where it did not expect what it met
        raise DeclarationError(in_words(error, functions)) from error
    made.disable_compile()
    narrowed = [
        place for name in functions for place in intrinsics.narrowings(module.__dict__[name])
    ]
    if narrowed:
        for path in folder.rglob("*.nb?"):  # else the next run finds machine code, and no complaint
            path.unlink(missing_ok=True)
        raise DeclarationError(
            f"{narrowed[0]} holds an integer and is given a float; prices, quantities and times "
            "are integers here: compute in integers, or write int(x) where cutting off is meant"
        )
    return made


def positional(function: Any) -> Any:
    """The same code with its keyword-only parameters as positional ones (the compiler's limit)."""
    code = function.__code__
    if not code.co_kwonlyargcount:
        return function
    flat = code.replace(co_argcount=code.co_argcount + code.co_kwonlyargcount, co_kwonlyargcount=0)
    made = types.FunctionType(
        flat, function.__globals__, function.__name__, None, function.__closure__
    )
    made.__qualname__, made.__module__ = function.__qualname__, function.__module__
    return made


def _folder(text: str, names: dict[str, Any]) -> Path:
    return cache.drivers_folder() / closure.fingerprint(text, names)


def _plain(thing: Any) -> Any:
    """In plain Python a setting is passed by position too, and a kernel is itself."""
    if isinstance(thing, Kernel):
        return thing
    return positional(thing) if isinstance(thing, types.FunctionType) else thing
