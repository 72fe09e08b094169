"""Distributed engines, for tests: skips say which one is missing and how to get it."""

import pytest

from onetape.records import OperatorError
from onetape.runtimes import environments


def engine(name: str) -> str:
    """The name, if there is an environment for it."""
    try:
        environments.find(name)
    except OperatorError as why:
        pytest.skip(str(why))
    return name
