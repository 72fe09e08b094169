"""onetape: low-latency stream processing for financial markets.

    import onetape as ot
    from onetape import market as mk

Declare records and operators, build a `Pipeline`, run it at the edge or over history: the answers
are the same. The compiler is loaded when something runs, not by this import.
"""

from typing import TYPE_CHECKING, Any

from onetape.compiled.kernel import kernel
from onetape.connect.cases import CasesSink as cases
from onetape.connect.kafka.sink import KafkaSink as kafka
from onetape.connect.lake.sink import DeltaSink as delta
from onetape.connect.nats.sink import NatsSink as nats
from onetape.connect.questdb.sink import QuestdbSink as questdb
from onetape.connect.sinks import CallbackSink as callback
from onetape.connect.sinks import CsvSink as csv
from onetape.connect.sinks import JsonlSink as jsonl
from onetape.connect.sinks import ParquetFileSink as parquet
from onetape.connect.sinks import StdoutSink as stdout
from onetape.connect.sinks import TcpSink as tcp
from onetape.connect.sinks import WebhookSink as webhook
from onetape.engine import (
    Pattern,
    Pipeline,
    Stream,
    UpTo,
    aggregate,
    merge,
    operator,
    session,
    window,
)
from onetape.engine.columns import c, count, start_ns, when
from onetape.engine.columns.lookups import table
from onetape.engine.graph import UdpSink as udp
from onetape.market.feed import source
from onetape.records import (
    UNSET,
    Array,
    Duration,
    Lots,
    OnetapeError,
    Ticks,
    f64,
    i32,
    i64,
    record,
    record_of,
    u8,
    u16,
    u32,
    u64,
)

if TYPE_CHECKING:
    from onetape.connect.frames.read import read
    from onetape.runtimes.here import run
    from onetape.runtimes.query.query import query
    from onetape.runtimes.state.at import state_at

__version__ = "0.1.0"

__all__ = [
    "UNSET",
    "Array",
    "Duration",
    "Lots",
    "OnetapeError",
    "Pattern",
    "Pipeline",
    "Stream",
    "Ticks",
    "UpTo",
    "aggregate",
    "c",
    "callback",
    "cases",
    "count",
    "csv",
    "delta",
    "f64",
    "i32",
    "i64",
    "jsonl",
    "kafka",
    "kernel",
    "merge",
    "nats",
    "operator",
    "parquet",
    "query",
    "questdb",
    "read",
    "record",
    "record_of",
    "run",
    "session",
    "source",
    "start_ns",
    "state_at",
    "stdout",
    "table",
    "tcp",
    "u8",
    "u16",
    "u32",
    "u64",
    "udp",
    "webhook",
    "when",
    "window",
]


def __getattr__(name: str) -> Any:
    """`read`, `run`, `query` and `state_at` load what they need when they are first asked for."""
    if name == "read":
        from onetape.connect.frames.read import read

        return read
    if name == "run":
        from onetape.runtimes.here import run

        return run
    if name == "state_at":
        from onetape.runtimes.state.at import state_at

        return state_at
    if name == "query":
        from onetape.runtimes.query.query import query

        return query
    raise AttributeError(f"module 'onetape' has no attribute {name!r}")
