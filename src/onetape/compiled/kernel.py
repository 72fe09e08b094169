"""The one kernel decorator: where flags live, and where Python turns into machine code.

A kernel is a pure function over scalars and arrays. Decorating costs nothing and does not load
the compiler (importing onetape must stay fast): it compiles at its first call, or when another
kernel that calls it compiles, and the result is cached on disk under the hash of this package's
source, so an edit can never run stale machine code.

Flags, for every kernel: `nogil` (runs beside Python threads), no allocation (`_nrt=False`: an
allocation is then a compile error and calls are 3-4x cheaper), the on-disk cache, Python's rules
for division. No fastmath and no parallel: results are compared bit for bit.
"""

from collections.abc import Callable
from typing import Any

from onetape.compiled import cache, mode


class Kernel:
    """A function with two lives: machine code when called from kernels, plain Python in its twin.

    `twin` is what runs interpreted, where it differs from the source itself: operations that wrap
    at 64 bits, memory access, system calls. `intrinsic` names a hand-written machine form in the
    module `home` instead of a Python body: it exists only inside compiled code, so a call from
    Python runs the twin. `load` returns the machine form of another kernel, chosen when the
    compiler is loaded.
    """

    def __init__(
        self,
        py_func: Callable[..., Any],
        twin: Callable[..., Any] | None = None,
        intrinsic: str | None = None,
        home: str = "onetape.compiled.intrinsics",
        load: Callable[[], Any] | None = None,
    ) -> None:
        self.py_func = py_func
        self.twin = twin or py_func
        self.intrinsic = intrinsic
        self.home = home
        self.load = load
        self.__name__ = py_func.__name__
        self.__doc__ = py_func.__doc__
        self.__module__ = py_func.__module__
        self.__wrapped__ = py_func
        self._dispatchers: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<kernel {self.__module__}.{self.__name__}>"

    def __call__(self, *args: Any) -> Any:
        if mode.is_interpreted() or self.intrinsic is not None:
            return self.twin(*args)
        return self.dispatcher(*args)

    @property
    def dispatcher(self) -> Any:
        """The compiler's object for this kernel in the current mode (made on first use)."""
        found = self._dispatchers.get(mode.current())
        if found is None:
            found = self._dispatchers[mode.current()] = self._make()
        return found

    def _make(self) -> Any:
        from onetape.compiled import intrinsics  # loads the compiler

        if self.load is not None:
            return self.load()
        if self.intrinsic is not None:
            return intrinsics.machine_form(self.home, self.intrinsic)
        return compile_function(self.py_func, cache.package_folder())


def kernel(
    py_func: Callable[..., Any] | None = None, *, twin: Callable[..., Any] | None = None
) -> Any:
    """A function of numbers and rows that operators may call: compiled there, plain Python here.

    ```python
    @ot.kernel
    def middle_x2(bid_ticks, ask_ticks):
        return bid_ticks + ask_ticks
    ```

    `@kernel(twin=f)` when plain Python needs another body.
    """
    if py_func is None:
        return lambda f: Kernel(f, twin=twin)
    return Kernel(py_func)


def intrinsic(
    twin: Callable[..., Any] | None = None, *, home: str = "onetape.compiled.intrinsics"
) -> Any:
    """Declare a compiler intrinsic by its twin; the machine form has the same name in `home`."""
    if twin is None:
        return lambda f: Kernel(f, intrinsic=f.__name__, home=home)
    return Kernel(twin, intrinsic=twin.__name__, home=home)


def compile_function(py_func: Callable[..., Any], folder: str | None) -> Any:
    """Hand `py_func` to the compiler with the project's flags; `folder` caches it on disk."""
    from onetape.compiled import intrinsics

    checked = mode.current() == "boundscheck" or not is_ours(py_func)
    return intrinsics.jit(py_func, folder, boundscheck=checked, inline=True)


def is_ours(function: Any) -> bool:
    """Is it part of this package? What users write keeps its bounds checks: 2 to 6 ns an event."""
    return str(function.__module__).partition(".")[0] == "onetape"
