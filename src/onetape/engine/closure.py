"""A hash over everything a function's machine code depends on: code, constants, helpers, dtypes.

Two functions with equal fingerprints compile to the same machine code. This package's own source
is left out: the cache folder is named by a hash of all of it already.
"""

import enum
import hashlib
import types
from typing import Any

import numpy as np

from onetape.compiled.kernel import Kernel
from onetape.records import is_record


def fingerprint(text: str, names: dict[str, Any]) -> str:
    """Hash of a driver's text and of all it names; 24 hex digits."""
    digest = hashlib.sha256(text.encode())
    seen: set[int] = set()
    for name in sorted(names):
        digest.update(name.encode())
        _add(digest, names[name], seen)
    return digest.hexdigest()[:24]


def _add(digest: Any, thing: Any, seen: set[int]) -> None:
    compiled = getattr(thing, "py_func", None)  # of a kernel, or of the compiler's own decorator
    if isinstance(thing, Kernel) or isinstance(compiled, types.FunctionType):
        thing = compiled
    if id(thing) in seen:
        return
    if isinstance(thing, types.FunctionType) and _is_ours(thing):
        digest.update(f"{thing.__module__}.{thing.__qualname__}".encode())
    elif isinstance(thing, types.FunctionType):
        seen.add(id(thing))
        _add_function(digest, thing, seen)
    elif is_record(thing):
        digest.update(repr((thing.__name__, thing.dtype.descr, thing.dtype.itemsize)).encode())
    elif isinstance(thing, np.dtype):
        digest.update(repr(thing.descr).encode())
    elif isinstance(thing, tuple):
        digest.update(f"{type(thing).__qualname__} of {len(thing)}".encode())
        for part in thing:
            _add(digest, part, seen)
    elif isinstance(thing, int | float | str | bytes | type(None) | np.generic):
        digest.update(f"{type(thing).__qualname__} {thing!r}".encode())
    elif isinstance(thing, enum.EnumType):
        members: Any = list(thing)
        digest.update(repr([(m.name, m.value) for m in members]).encode())
    elif isinstance(thing, type):
        digest.update(repr((thing.__qualname__, getattr(thing, "_fields", None))).encode())
    elif isinstance(thing, np.ndarray):
        digest.update(f"{thing.dtype.descr} {thing.shape}".encode() + thing.tobytes())


def _is_ours(function: Any) -> bool:
    """Defined in this package: its source is in the cache folder's name already."""
    return str(function.__module__).partition(".")[0] == __name__.partition(".")[0]


def _add_function(digest: Any, function: Any, seen: set[int]) -> None:
    digest.update(f"{function.__module__}.{function.__qualname__}".encode())
    _add_code(digest, function.__code__, function, seen)
    _add(digest, tuple(function.__defaults__ or ()), seen)
    for cell in function.__closure__ or ():
        _add(digest, cell.cell_contents, seen)


def _add_code(digest: Any, code: Any, function: Any, seen: set[int]) -> None:
    # Code refers to names by their place: `a.x - a.y` and `a.y - a.x` differ only in the order.
    digest.update(code.co_code + repr((code.co_names, code.co_varnames, code.co_freevars)).encode())
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _add_code(digest, constant, function, seen)
        elif isinstance(constant, frozenset):
            digest.update(repr(sorted(map(repr, constant))).encode())
        else:
            digest.update(repr(constant).encode())
    for name in sorted(names):
        digest.update(name.encode())
        _add_named(digest, function.__globals__.get(name), names, seen, set())


def _add_named(digest: Any, found: Any, names: set[str], seen: set[int], within: set[int]) -> None:
    """A global, or of a module all that may be meant: what it has under one of these names."""
    if not isinstance(found, types.ModuleType):
        _add(digest, found, seen)
    elif id(found) not in within:
        within.add(id(found))
        for attribute in sorted(names):
            _add_named(digest, getattr(found, attribute, None), names, seen, within)
