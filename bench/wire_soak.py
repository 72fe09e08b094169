"""The wire for long: does memory stay what it is, latency too, and is every loss explained?

Laps of ten seconds at 200 000 messages a second; before each the generator makes new messages, half
a second or so in which nothing is sent. The tape grows by some 9 MB a second.

onetape bench soak --seconds 3600
"""

from typing import Any

from bench.wire import HICCUP_SLEEP_NS, Stage, accounts, latencies, percentiles
from bench.wire_ends import MORE
from bench.wire_flow import Load

from onetape.runtimes.edge.hiccup import HiccupMeter

RATE = 200_000
LAP_S = 10.0


def run(seconds: float = 60.0, wait: str = "spin") -> dict[str, Any]:
    """Memory of the node's process after the first lap, halfway and at the end; see `accounts`."""
    load, laps = Load.of(RATE), max(2, round(seconds / LAP_S))
    seen, memory_bytes = [], []
    with Stage(load, [[(min(LAP_S, seconds / 2), 1.0)]], wait=wait, has_echo=False) as stage:
        before = stage.facts
        with HiccupMeter(HICCUP_SLEEP_NS) as meter:
            for lap in range(laps):
                seen.append(stage.run_slice("node", 1 if lap == 0 else MORE))
                memory_bytes.append(stage.facts["memory_bytes"])
        node = stage.since(before)
    third = max(1, laps // 3)
    return {
        **accounts(load, node, seen),
        "offered_per_s": RATE,
        "messages": node["messages"],
        "memory_bytes_first": memory_bytes[0],
        "memory_bytes_middle": memory_bytes[laps // 2],
        "memory_bytes_last": memory_bytes[-1],
        **latencies("first_third", seen[:third]),
        **latencies("last_third", seen[-third:]),
        **percentiles("hiccup", meter.counts, 99.9, 100),
        "tape_bytes": node["tape_bytes"],
    }
