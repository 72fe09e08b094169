"""A plan becomes a function: compiled once, found on disk ever after, or plain Python.

The generated module is written to the cache folder under the hash of all it depends on, so it can
be read, stepped through, and never be stale. It is compiled for exactly the arrays it will get;
after that no other signature is accepted (a read-only or strided array must not recompile mid-run).
"""

import importlib.util
import os
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onetape.compiled import cache, mode
from onetape.compiled.kernel import Kernel, compile_function
from onetape.engine import closure
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
    module = _load(folder, text, names)
    if mode.is_interpreted():
        return module.__dict__[function]  # type: ignore[no-any-return]
    from onetape.compiled import intrinsics
    from onetape.engine import emit

    emit.teach_compiler()
    for name, thing in names.items():
        if isinstance(thing, types.FunctionType):
            module.__dict__[name] = compile_function(positional(thing), None)
    checked = mode.current() == "boundscheck"
    made = intrinsics.jit(module.__dict__[function], str(folder), boundscheck=checked)
    made.compile(intrinsics.signature(arguments))
    made.disable_compile()
    return made  # type: ignore[no-any-return]


def is_cached(plan: Plan) -> bool:
    """Is the plan's machine code on disk already?"""
    return any(_folder(plan.text, plan.names).rglob("*.nbi"))


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


def _load(folder: Path, text: str, names: dict[str, Any]) -> Any:
    """Import the generated module from its folder, writing it first if it is not there."""
    path = folder / "driver.py"
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(handle, "w") as out:
                out.write(text)
            os.replace(temporary, path)
        except OSError as error:
            raise DeclarationError(
                f"cannot write the compiled pipeline to {path.parent}: {error.strerror}; "
                "set ONETAPE_CACHE to a folder that can be written"
            ) from None
    name = f"onetape_driver_{path.parent.name}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # machine code found on disk looks its module up by name
    for named, thing in names.items():
        module.__dict__[named] = thing if not mode.is_interpreted() else _plain(thing)
    spec.loader.exec_module(module)
    return module


def _plain(thing: Any) -> Any:
    """In plain Python a setting is passed by position too, and a kernel is itself."""
    if isinstance(thing, Kernel):
        return thing
    return positional(thing) if isinstance(thing, types.FunctionType) else thing
