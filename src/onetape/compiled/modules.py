"""Generated source as an importable module in the cache folder: readable, steppable, never stale.

Machine code found on disk looks its module up by name, so the module is registered; the folder's
name is a hash of all the module depends on, so a module that is there is the right one.
"""

import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from onetape.records.errors import OperatorError


def load(folder: Path, text: str, names: dict[str, Any]) -> Any:
    """Import `text` from `folder`, written there first if needed, with `names` as globals."""
    path = folder / "driver.py"
    if not path.exists():
        try:
            write(path, text.encode())
        except OSError as error:
            raise OperatorError(
                f"cannot write the compiled pipeline to {folder}: {error.strerror}; "
                "set ONETAPE_CACHE to a folder that can be written"
            ) from None
    name = f"onetape_driver_{folder.name}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    module.__dict__.update(names)
    spec.loader.exec_module(module)
    return module


def write(path: Path, data: bytes) -> None:
    """All at once: two processes may plan the same pipeline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as out:
        out.write(data)
    os.replace(temporary, path)
