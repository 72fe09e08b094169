"""How soon a row is there: Kafka to Flink to Kafka with blocks of 256 events, at a rate.

`to_row` is from a block's sending to the arrival of its rows at the broker of the output topic;
what a reader of committed records waits besides is `commit_lag`: Flink commits at checkpoints.
"""

from pathlib import Path
from typing import Any

from bench import cluster_here as here
from bench.cluster_flink import latency
from bench.cluster_recovery import lacks

__all__ = ["lacks", "run"]
BLOCK = 256
RATES = (50_000,)  # events a second


def run(day: Path, _kills: int) -> dict[str, Any]:
    """{rate: figures}, each over the whole day."""
    from tests import servers

    digests = here.direct(day, 1)[1]
    blocks = here.made(day, BLOCK)
    found, answer_ok = {}, True
    broker = servers.start("kafka")
    try:
        for per_s in RATES:
            told = latency(broker, blocks, per_s)
            answer_ok &= told.pop("digests") == digests
            found[f"{per_s:,} events/s"] = told
    finally:
        broker.stop()
    return {"answer_ok": answer_ok, "rates": found}
