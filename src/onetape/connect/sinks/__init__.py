"""Where rows go: `stream >> ot.parquet("out/")`, csv, jsonl, stdout, callback, tcp, webhook.

A sink in a pipeline is a value. A runtime opens it, hands it every row of its output in order, and
closes it; none of this is on the hot path. (`ot.udp` is: its rows leave from the hot loop itself;
`ot.delta` has a room of its own, `connect/lake`.)

Files and callbacks see rows as they are made. What leaves the machine by `tcp` and `webhook` goes
through an outbox: only rows that a crash cannot take back, in order, tried again until taken, and
not again after a restart. What "taken" means: an answer of 2xx to a webhook; with tcp, only that
the network has them (see `TcpSink`).

Nothing that goes wrong at a sink ends a node: it is said once, counted, and tried again. Only a
callback that raises ends the run.
"""

from onetape.connect.sinks.files import CsvSink, JsonlSink, ParquetFileSink, StdoutSink
from onetape.connect.sinks.local import CallbackSink
from onetape.connect.sinks.web import TcpSink, WebhookSink

__all__ = [
    "CallbackSink",
    "CsvSink",
    "JsonlSink",
    "ParquetFileSink",
    "StdoutSink",
    "TcpSink",
    "WebhookSink",
]
