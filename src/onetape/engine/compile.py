"""A plan becomes a function: compiled once, found on disk ever after, or plain Python.

The generated module is written to the cache folder under the hash of all it depends on, so it can
be read, stepped through, and never be stale. It is compiled for exactly the arrays it will get;
after that no other signature is accepted (a read-only or strided array must not recompile mid-run).
"""

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onetape.compiled import cache, mode, modules
from onetape.compiled.kernel import Kernel, compile_function
from onetape.engine import closure
from onetape.engine.compiler_words import in_words
from onetape.engine.planner import Plan
from onetape.records import DeclarationError


def driver(plan: Plan, arguments: list[Any]) -> Callable[..., int]:
    """The plan's `turn` for these arguments, in the current mode."""
    return generated(plan.text, plan.names, "turn", arguments)


def generated(
    text: str, names: dict[str, Any], function: str, arguments: list[Any]
) -> Callable[..., int]:
    """The function of that name in a generated module, for exactly these arguments."""
    folder = _folder(text, names)
    if mode.is_interpreted():
        plain = {name: _plain(thing) for name, thing in names.items()}
        return modules.load(folder, text, plain).__dict__[function]  # type: ignore[no-any-return]
    module = modules.load(folder, text, names)
    from onetape.compiled import intrinsics
    from onetape.engine import emit

    emit.teach_compiler()
    for name, thing in names.items():
        if isinstance(thing, types.FunctionType):
            module.__dict__[name] = compile_function(positional(thing), None)
    functions = {n: thing for n, thing in names.items() if isinstance(thing, types.FunctionType)}
    checked = mode.current() == "boundscheck"
    made = intrinsics.jit(module.__dict__[function], str(folder), boundscheck=checked, inline=False)
    try:
        made.compile(intrinsics.signature(arguments))
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
    return made  # type: ignore[no-any-return]


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
