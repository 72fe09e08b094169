"""`onetape listen`: show the rows that a node sends, as they come."""

import argparse
import json
import select
import sys
import time
from typing import Any

from onetape.codecs.rows_datagram import RowsHeader
from onetape.connect.rows_receiver import RowsReceiver
from onetape.connect.udp import LOOPBACK, parse_address
from onetape.runtimes.load import load_pipeline

DESCRIPTION = """\
Receive the datagrams that `onetape run PIPELINE --send OUTPUT=ADDRESS` sends, and print their rows,
one line each. The same pipeline tells what is in them. Rows that were missed or came twice, and
datagrams that are none of its rows, are counted and said at the end (Ctrl-C).
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
    names = list(pipeline.outputs)
    records = [stream.of for stream in pipeline.outputs.values()]
    end_s = time.monotonic() + (args.seconds if args.seconds is not None else float("inf"))
    with RowsReceiver(parse_address(args.address), records, interface=args.interface) as receiver:
        print(f"listening at {receiver.address}; Ctrl-C ends it", file=sys.stderr, flush=True)
        try:
            while time.monotonic() < end_s:
                select.select([receiver.fd], [], [], 0.2)
                for header, rows, ts_recv_ns in receiver.waiting():
                    _print(names[header.output], header, rows, ts_recv_ns, args.json)
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


def _print(name: str, header: RowsHeader, rows: Any, ts_recv_ns: int, as_json: bool) -> None:
    for n, row in enumerate(rows.tolist()):
        fields = dict(zip(rows.dtype.names, row))
        if as_json:
            told = {
                "output": name,
                "row": header.first_row + n,
                "tape_offset": header.tape_offset,
                "durable": header.durable,
                "ts_recv_ns": ts_recv_ns,
            }
            print(json.dumps(told | fields), flush=True)
        else:
            said = "  ".join(f"{k} {v}" for k, v in fields.items() if not isinstance(v, list))
            print(f"{name} {header.first_row + n}  offset {header.tape_offset}  {said}", flush=True)
