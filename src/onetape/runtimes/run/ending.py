"""The end of a run into a tape: stop the loop, make all durable, and say what it came to."""

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from onetape.engine.digest import OutputDigest, state_digest
from onetape.engine.planner import Plan
from onetape.runtimes.account import account
from onetape.runtimes.delivery import Delivery
from onetape.runtimes.edge import live
from onetape.runtimes.edge.follower import follow
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.manifest import write_result


def follow_swaps(
    node: EdgeNode, digests: dict[str, OutputDigest], delivery: Delivery | None
) -> None:
    """Outputs that a new version brings have a digest, and sinks, before their first row."""

    def swapped(planned: Plan) -> None:
        follow(digests, planned)
        if delivery is not None:
            delivery.follow(planned.pipeline)

    node.when_swapped.append(swapped)


def end_run(
    node: EdgeNode,
    delivery: Delivery,
    digests: dict[str, OutputDigest],
    take: Callable[[Iterable[Any]], Any],
    began_s: float,
    own: dict[str, Any],
) -> dict[str, Any]:
    """The facts of the run, also left beside its tape; `own` are those of its kind of input."""
    take(node.stop())
    elapsed_s = time.perf_counter() - began_s
    node.tape.sync()
    delivery.finish()
    counts = node.engine.counts()
    facts = {
        "messages": counts.events,
        "rows": counts.rows,
        **account(node.engine),
        **own,
        "elapsed_s": round(elapsed_s, 6),
        "digests": {name: digest.hexdigest() for name, digest in digests.items()},
        "state_digest": state_digest(node.engine),
        **node.statistics(),
    }
    live.write(node.folder, live.snapshot(node))
    write_result(node.folder, facts)
    for line in node.troubles():
        print(f"onetape: {line}", file=sys.stderr)
    return facts
