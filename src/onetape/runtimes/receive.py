"""`onetape listen`: show the rows that a node sends, as they come."""

import argparse
import json
import select
import sys
import time
from collections.abc import Iterator
from typing import Any

from onetape.codecs.rows_datagram import RowsHeader
from onetape.connect.arrow import LETTERS, flag_words
from onetape.connect.rows_receiver import RowsReceiver
from onetape.connect.sinks.taking import Output
from onetape.connect.udp import LOOPBACK, parse_address
from onetape.engine.graph import Pipeline
from onetape.engine.planner import plan
from onetape.records.market import VALUES
from onetape.runtimes.load import load_pipeline

DESCRIPTION = """\
Receive the datagrams that `onetape run PIPELINE --send OUTPUT=ADDRESS` sends, and print their rows,
one line each. The same pipeline tells what is in them. Rows that were missed or came twice, and
datagrams that are none of its rows, are counted and said at the end (Ctrl-C).

A datagram has ids only: instrument_id is the venue's number of the day. Parquet files, webhooks and
other sinks of the node have the symbol too. With --json a field that is not known is null, and an
alert has `text`, what its rule says.
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "listen",
        help="print the rows that a running node sends",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  onetape listen standard 127.0.0.1:9000",
    )
    parser.add_argument("pipeline", metavar="PIPELINE", help="a Python file, or 'standard'")
    parser.add_argument("address", metavar="ADDRESS", help="HOST:PORT that the rows are sent to")
    parser.add_argument("--interface", default=LOOPBACK, metavar="IP", help="of a group")
    parser.add_argument("--seconds", type=float, metavar="S", help="end after this time")
    parser.add_argument("--json", action="store_true", help="one JSON object a row, one at the end")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    pipeline = load_pipeline(args.pipeline)
    outputs = [Output(n, of.of, None, pipeline.rules) for n, of in pipeline.outputs.items()]
    driver = driver_of(pipeline)
    others: set[str] = set()
    end_s = time.monotonic() + (args.seconds if args.seconds is not None else float("inf"))
    records = [output.of for output in outputs]
    with RowsReceiver(parse_address(args.address), records, interface=args.interface) as receiver:
        print(f"listening at {receiver.address}; Ctrl-C ends it", file=sys.stderr, flush=True)
        try:
            while time.monotonic() < end_s:
                select.select([receiver.fd], [], [], 0.2)
                for header, rows, ts_recv_ns in receiver.waiting():
                    if header.driver != driver and header.driver not in others:
                        others.add(header.driver)
                        print(_other_code(args.pipeline, driver, header), file=sys.stderr)
                    show = json_lines if args.json else text_lines
                    for line in show(outputs[header.output], header, rows, ts_recv_ns):
                        print(line, flush=True)
        except KeyboardInterrupt:
            pass
        _print_end(receiver, args.json)
    return 0


def _print_end(receiver: RowsReceiver, as_json: bool) -> None:
    rows, missed, repeated = sum(receiver.next_row), receiver.missed, receiver.repeated
    said = f"{rows:,} rows; {missed:,} missed, {repeated:,} again"
    if receiver.not_ours:
        said += (
            f"; {receiver.not_ours:,} datagrams are not of this pipeline and were passed over "
            f"(the last: {receiver.last_not_ours})"
        )
    print(said, file=sys.stderr)
    if as_json:
        counts = {"missed": missed, "repeated": repeated, "not_ours": receiver.not_ours}
        print(json.dumps({"rows": rows} | counts), flush=True)


def driver_of(pipeline: Pipeline) -> str:
    """What the datagrams of a node with this pipeline say of the code that made them."""
    framing = {source.name: "moldudp64" for source in pipeline.sources if source.feed}
    return plan(pipeline, framing).driver[:16]


def _other_code(name: str, driver: str, header: RowsHeader) -> str:
    return (
        f"onetape: these rows come from a node whose pipeline (driver {header.driver}) is not "
        f"{name} as it is here (driver {driver}): outputs and fields may be named wrongly; give "
        "the pipeline that the node runs"
    )


def json_lines(output: Output, header: RowsHeader, rows: Any, ts_recv_ns: int) -> Iterator[str]:
    """A JSON object a row."""
    for n, told in enumerate(output.dicts(rows)):
        about = {
            "output": output.name,
            "row": header.first_row + n,
            "tape_offset": header.tape_offset,
            "durable": header.durable,
            "ts_recv_ns": ts_recv_ns,
        }
        yield json.dumps(about | told)


def text_lines(output: Output, header: RowsHeader, rows: Any, _ts_recv_ns: int) -> Iterator[str]:
    """A line a row: its fields by name, letters and flags as one reads them."""
    for n, told in enumerate(output.dicts(rows)):
        what = f"{told.pop('text')!r}  " if "text" in told else ""
        values = VALUES.get(output.of.__name__, {})
        fields = [f"{k} {_word(k, v, values)}" for k, v in told.items() if k != "reserved"]
        where = f"{output.name} {header.first_row + n}  offset {header.tape_offset}"
        yield f"{where}  {what}{'  '.join(fields)}"


def _word(name: str, value: Any, values: dict[str, dict[int, str]]) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):  # of a fixed length: the end that was never filled says nothing
        filled = max((n for n, one in enumerate(value, 1) if one), default=0)
        return f"[{' '.join('-' if one is None else str(one) for one in value[:filled])}]"
    if name in values:
        return values[name].get(value, str(value))
    if name in LETTERS:
        return chr(value) if value else "-"
    return flag_words(value) or "-" if name == "flags" else str(value)
