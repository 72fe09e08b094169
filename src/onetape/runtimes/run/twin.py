"""`onetape run PIPELINE --simulate`: on the simulated twin of its venues, at the clock's pace."""

import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onetape.connect.frames.merge import Item
from onetape.connect.udp import Address
from onetape.engine.graph import Pipeline
from onetape.records import OperatorError
from onetape.runtimes.edge.network import Network
from onetape.runtimes.run.items import Brought, run_items
from onetape.runtimes.twin import Twin, milliseconds_of, paced


def run_twin(
    pipeline: Pipeline,
    tape: Path,
    *,
    seed: int,
    seconds: float | None,
    speed: float,
    sinks: dict[str, Address],
    interface: str,
    **options: Any,
) -> dict[str, Any]:
    """Run the twin through a node for `seconds` of its market, or until Ctrl-C; returns facts.

    speed    seconds of the market in one of the clock; 0: as fast as it goes
    sinks    {output: where its rows leave to, as datagrams}
    options  those of `run_items`
    """
    if seconds is None and not speed:
        raise OperatorError("--speed 0 without an end; say how much is simulated: --seconds 5")
    twin = Twin(
        pipeline,
        seed=seed,
        milliseconds=None if seconds is None else milliseconds_of(int(seconds * 1e9)),
    )

    def pace(items: Iterable[Item]) -> Iterator[Item | None]:
        return paced(items, speed, lambda: twin.now_ns)

    brought = Brought(
        twin,
        twin.origin,
        twin.names,
        pace=pace if speed else None,
        midnight_ns=twin.midnight_ns,
    )
    with Network([], sinks=sinks, interface=interface) as network:
        fds = {name: sender.fd for name, sender in network.senders.items()}
        facts = run_items(pipeline, tape, brought, sinks=fds, **options)
    if sinks:
        to = ", ".join(str(address) for address in sinks.values())
        unheard = f"; nobody listened to {facts['unsent']:,} or more" if facts["unsent"] else ""
        datagrams = facts["sent"] + facts["unsent"]
        facts["delivered"].append(f"{datagrams:,} datagrams to {to}{unheard}")
    return facts


@contextmanager
def tape_of(folder: Path | None) -> Iterator[Path]:
    """The folder, or one that is gone at the end."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="onetape-") as made:
        print("onetape: no --tape, so the tape is not kept", file=sys.stderr)
        yield Path(made) / "tape"
