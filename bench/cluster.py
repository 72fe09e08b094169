"""One simulated day through every engine: how much of it a core does, and what that costs.

    here      in this process: the file, and blocks of 4 096 and 256 events through a worker
    ways      as one types it: edge, Kafka to Kafka at the edge, Flink (one and two TaskManagers, in
              threads and in processes), Sail, Spark; a short day and a long one, rates of their
              difference, so that starts are apart
    latency   Kafka to Flink to Kafka, blocks of 256 at a rate: to the row, and to its commit
    recovery  kill -9 of a TaskManager, a Python worker, a broker: until rows come again

Every way has to come to the digests of the first, else the bench fails. What is not installed is
left out, and said: `make servers`. Processor time is of all processes a way starts, in which a
broker is apart; `usd_per_million` is that time at --price a core and hour (`bench/cluster_cost.py`
says what the default is).
"""

import importlib
from pathlib import Path
from typing import Any

from bench import cluster_here as here
from bench.cluster_cost import PRICE_USD, theirs, usd_per_million
from bench.cluster_ways import WAYS
from bench.itch import simulated_file

from onetape.records import OperatorError

BLOCKS = (4096, 256)


def run(
    messages: int = 20_000_000,
    rounds: int = 3,
    price: float = PRICE_USD,
    only: str = "",
    kills: int = 5,
) -> dict[str, Any]:
    """Figures of a day of so many messages; `only` names ways, by commas; kills of each kind."""
    long = simulated_file(messages, seed=7)
    short = simulated_file(messages // 4, seed=7)
    direct, digests = here.direct(long, rounds)
    few, digests_of_few = here.direct(short, 1)
    found = {"batch": direct}
    answer_ok, state, sizes = True, {}, {}
    for events in BLOCKS:
        figures, came, worker = here.by_blocks(long, events, rounds)
        sizes[f"blocks of {events}"] = figures.pop("bytes", {})
        found[f"blocks of {events}"] = figures
        answer_ok &= came == digests
        state = state or here.saved(worker)
    days = [(short, few["events"]), (long, direct["events"])]
    left_out, failed = {}, {}
    for name, way in WAYS.items():
        if only and name not in only.split(","):
            continue
        lacks = way.lacks()
        if lacks:
            left_out[name] = lacks
            continue
        try:
            figures = way.run(days)
        except OperatorError as why:
            failed[name], answer_ok = str(why), False
            continue
        if figures.pop("digests") != [digests_of_few, digests][-way.days :]:
            failed[name], answer_ok = "another answer than that of the plain run", False
        elif "said" in figures:
            left_out[name] = figures["said"]
        else:
            found[name] = figures
    for figures in found.values():
        if "events_per_core_s" in figures:
            cost = usd_per_million(figures["events_per_core_s"], price)
            figures["usd_per_million"] = round(cost, 6)
    result = {
        "answer_ok": answer_ok,
        "messages": messages,
        "usd_per_core_hour": price,
        "ways": _even(found),
        "blocks": _even(sizes),
        "state": state,
        "source": theirs(),
    }
    for part in ("latency", "recovery"):
        module = importlib.import_module(f"bench.cluster_{part}")
        if not only or part in only.split(","):
            lacks = module.lacks()
            if lacks:
                left_out[part] = lacks
            else:
                told = module.run(Path(short), kills)
                answer_ok &= told.pop("answer_ok")
                result[part] = told
    return result | {"answer_ok": answer_ok, "failed": failed or "", "left_out": left_out or ""}


def _even(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The same columns in every row of a table; None where a way has no such figure."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    return {name: {column: row.get(column) for column in columns} for name, row in rows.items()}
