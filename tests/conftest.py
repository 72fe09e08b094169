"""What all tests share: the recorded data, and how hard Hypothesis looks."""

import os
import signal
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest
from tests import servers
from tests.servers import Server

# HYPOTHESIS_PROFILE=ci draws the same examples at every run; a failure there is a failure here.
hypothesis.settings.register_profile("default", max_examples=50, deadline=None)
hypothesis.settings.register_profile("ci", max_examples=50, deadline=None, derandomize=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# A shell switches Ctrl-C off for what it runs in the background, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`-m cluster`: what is about servers and engines is marked by what its module imports."""
    for item in items:
        of = {"kafka", "registry", "questdb", "nats"} & set(getattr(item, "fixturenames", ()))
        if of or _imports_any(getattr(item, "module", None), OF_CLUSTERS):
            item.add_marker("cluster")


OF_CLUSTERS = (
    "tests.servers",
    *(f"onetape.runtimes.{engine}" for engine in ("environments", "flink", "spark")),
    *(f"onetape.connect.{room}" for room in ("kafka", "lake", "nats", "questdb")),
    *("confluent_kafka", "deltalake", "fastavro", "nats", "questdb"),
)


def _imports_any(module: object, names: Collection[str]) -> bool:
    """Does it hold one of these modules, one inside of them, or something they define?"""
    for value in vars(module).values() if module is not None else ():
        is_module = isinstance(value, ModuleType)
        name = value.__name__ if is_module else getattr(value, "__module__", "")
        if isinstance(name, str) and any(
            name == one or name.startswith(f"{one}.") for one in names
        ):
            return True
    return False


@pytest.fixture
def data() -> Path:
    """The folder of recorded market data, which is not part of the repository."""
    chosen = os.environ.get("ONETAPE_DATA")
    folder = Path(chosen) if chosen else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no recorded data: {folder} is not a folder; set ONETAPE_DATA to one")
    return folder


@pytest.fixture
def data_file(data: Path) -> Callable[[str], Path]:
    """`data_file("itch/day.bin")` is that file's path; the test skips where it is missing."""

    def find(name: str) -> Path:
        path = data / name
        if not path.exists():
            pytest.skip(f"recorded data lacks {name} (looked in {data})")
        return path

    return find


@pytest.fixture(scope="session")
def kafka() -> Iterator[Server]:
    """One broker, as `tests.servers.start("kafka")`; name topics so that tests do not meet."""
    yield from servers.shared("kafka")


@pytest.fixture(scope="session")
def registry() -> Iterator[Server]:
    yield from servers.shared("registry")


@pytest.fixture(scope="session")
def questdb() -> Iterator[Server]:
    yield from servers.shared("questdb")


@pytest.fixture(scope="session")
def nats() -> Iterator[Server]:
    yield from servers.shared("nats")
