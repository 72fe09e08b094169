"""The pytest plugin: loaded by itself where onetape is installed.

pytest --onetape-mode=interpreted    # all pipelines as plain Python: breakpoints, coverage

def test_jumps(run_pipeline):
    t = run_pipeline(pipeline, trades=[...])     # fed and ended
    assert t.rows("jump") == [...]               # a difference is shown as a table
"""

import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from onetape.compiled import mode

if TYPE_CHECKING:
    from onetape.testing import Run


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("onetape").addoption(
        "--onetape-mode",
        choices=mode.MODES,
        default=None,
        help="how pipelines run: compiled (default), with bounds checks, or as plain Python",
    )


def pytest_configure(config: pytest.Config) -> None:
    """All tests run in the mode, and so do the processes they start."""
    chosen = config.getoption("--onetape-mode")
    if chosen is None:
        return
    stack = ExitStack()
    stack.enter_context(mode.running(chosen))
    stack.callback(_restore, os.environ.get("ONETAPE_MODE"))
    os.environ["ONETAPE_MODE"] = chosen
    config.add_cleanup(stack.close)


def _restore(before: str | None) -> None:
    if before is None:
        del os.environ["ONETAPE_MODE"]
    else:
        os.environ["ONETAPE_MODE"] = before


def pytest_report_header(config: pytest.Config) -> str | None:
    chosen = config.getoption("--onetape-mode")
    return f"onetape: {chosen}" if chosen else None


def pytest_assertrepr_compare(op: str, left: Any, right: Any) -> list[str] | None:
    """Lists of records that are not equal, as a table."""
    if op != "==":
        return None
    from onetape.testing.table import difference

    return difference(left, right)


@pytest.fixture
def run_pipeline() -> "Callable[..., Run]":
    """`run_pipeline(pipeline, trades=[...])`: a `testing.Run` that was fed these rows and ended."""
    from onetape.testing import Run

    def run(pipeline: Any, *events: Any, **by_source: Any) -> Run:
        return Run(pipeline).feed(*events, **by_source).end()

    return run
