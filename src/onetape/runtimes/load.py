"""Load a person's pipeline file: the Python file's variable `pipeline`."""

import re
import runpy
import sys
import traceback
import types
from pathlib import Path

from onetape.engine.graph import Pipeline
from onetape.records import DeclarationError, OnetapeError, OperatorError

STANDARD = "standard"
MODULE = "__onetape_pipeline__"  # what the file's module is called, wherever the file lies


def load_pipeline(path: str) -> Pipeline:
    """The pipeline in the file at `path`, or the one that is shipped for 'standard'."""
    if path == STANDARD:
        from onetape.runtimes.standard import pipeline

        return pipeline
    if Path(path).is_dir():
        raise OperatorError(f"{path} is a folder; give a Python file that defines `pipeline`")
    if not Path(path).is_file():
        raise OperatorError(
            f"no such file: {path}; give a Python file that defines `pipeline`, or 'standard'"
        )
    sys.path.insert(0, str(Path(path).resolve().parent))
    try:
        names = runpy.run_path(path, run_name=MODULE)
    except OnetapeError as error:
        said = str(error)
        if _is_placed(said):
            raise
        raise DeclarationError(f"{_where(error, path)}{said}") from error
    except (SyntaxError, ValueError) as error:
        if isinstance(error, SyntaxError) and error.lineno:
            raise DeclarationError(f"{_where(error, path)}SyntaxError: {error}") from error
        if not _is_text(path):
            raise OperatorError(
                f"{path} is not Python; expected a file that defines `pipeline` (recorded data "
                "goes with --file)"
            ) from None
        raise DeclarationError(f"{_where(error, path)}{type(error).__name__}: {error}") from error
    except Exception as error:
        raise DeclarationError(f"{_where(error, path)}{type(error).__name__}: {error}") from error
    # Machine code found on disk looks up the module of each function in it, by name.
    sys.modules[MODULE] = types.ModuleType(MODULE)
    sys.modules[MODULE].__dict__.update(names)
    found = names.get("pipeline")
    if not isinstance(found, Pipeline):
        raise DeclarationError(
            f"{path} defines no `pipeline`; expected pipeline = ot.Pipeline(name=stream, ...)"
        )
    return found


def _is_text(path: str) -> bool:
    """Could the file be Python, or is it data?"""
    try:
        return "\0" not in Path(path).read_text("utf-8")
    except UnicodeDecodeError:
        return False


def _is_placed(said: str) -> bool:
    """Does a message begin with a file and a line already?"""
    return re.match(r"\S+\.py:\d+: ", said) is not None


def _where(error: BaseException, path: str) -> str:
    """'file:line: ' of the innermost line of the person's own file."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: "
    for step in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(step.filename).name == Path(path).name:
            return f"{path}:{step.lineno}: "
    return f"{path}: "
