"""Operators and aggregates written from expressions: plain classes, as a person would write them.

What `asof_join`, `window(...).agg` and `alert` need is state and a few lines of Python. They write
these lines as the text of a class, and everything after that is the path of any other operator:
the same checks, the same compiler, the same debugger (`linecache` knows the text).
"""

import hashlib
import linecache
import sys
import types
from typing import Any

from onetape.engine.columns.values import used
from onetape.records import is_record


def written(name: str, lines: list[str], names: dict[str, Any]) -> Any:
    """The class `name` that `lines` define; `names` are its globals.

    Its module is registered under a hash of both, where machine code from the disk looks for it.
    """
    text = "\n".join(lines) + "\n"
    names = names | used(text)
    records = {n: (r.__name__, r.dtype.descr) for n, r in names.items() if is_record(r)}
    digest = hashlib.sha256(f"{text}{records!r}".encode()).hexdigest()[:16]
    path = f"<{name}, written from columns, {digest}>"
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    module = types.ModuleType(f"onetape_columns_{digest}")
    sys.modules[module.__name__] = module
    module.__dict__.update(names)
    exec(compile(text, path, "exec"), module.__dict__)
    return module.__dict__[name]
