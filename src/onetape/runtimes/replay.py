"""`onetape replay FILE`: the standard pipeline over a recorded file, as fast as it goes."""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from onetape.codecs.feed import refusals
from onetape.connect.itch_file import EPOCH, ItchFile, open_itch
from onetape.connect.parquet import ParquetSink
from onetape.engine.frames import frames_of
from onetape.market.words import counted
from onetape.runtimes import batch
from onetape.runtimes.progress import Progress

CHUNK_BYTES = 1 << 18
PRICE_METADATA = {"price_scale": "0.0001", "qty_scale": "1", "time": "ns since 1970-01-01 UTC"}

DESCRIPTION = """\
Run the standard pipeline over a file of NASDAQ ITCH 5.0 (length-prefixed, .gz, or MoldUDP64 in a
pcap or pcapng capture) and leave one Parquet file an output in DIR: top_of_book, trade, vwap, bar,
alert. Prices stay integers (ticks of 0.0001, said in the file's metadata); times are UTC.

The digests at the end say which answer this was: the same file gives the same digests on every
machine, in every runtime, however it is cut into blocks.
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "replay",
        help="run the standard pipeline over a recorded file, leave Parquet behind",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  onetape replay 01302019.NASDAQ_ITCH50.gz --out out/",
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where the Parquet files go (none: only count)"
    )
    parser.add_argument(
        "--date", type=parse_date, metavar="YYYY-MM-DD", help="trading date, if not in the name"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def parse_date(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date like 2019-01-30") from None
    if day.year < 1970:
        raise argparse.ArgumentTypeError(f"{text!r} is before 1970, where times begin")
    return day


def parse_zero_or_more(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
    return value


def run(args: argparse.Namespace) -> int:
    file = open_itch(args.file, trading_date=args.date, chunk_bytes=CHUNK_BYTES)
    note_date(file)
    summary = replay(file, args.out, Progress(quiet=args.json))
    print(json.dumps(summary) if args.json else _text(summary, args.out))
    return 0


def note_date(file: ItchFile) -> None:
    """Say that times will be in 1970, where nothing tells the date."""
    if file.trading_date == EPOCH:
        print(
            f"onetape: neither the name {file.path.name} nor --date tells the trading date, so "
            "times begin on 1970-01-01; give --date YYYY-MM-DD",
            file=sys.stderr,
        )


def replay(file: ItchFile, out: Path | None, progress: Progress) -> dict[str, Any]:
    """Run the file; returns the summary that --json prints."""
    from onetape.runtimes.standard import pipeline

    outputs = {name: stream.of for name, stream in pipeline.outputs.items()}
    sink = ParquetSink(out, outputs, PRICE_METADATA, pipeline.rules) if out is not None else None
    try:
        with progress.compiling():
            engine = batch.make_engine(pipeline, {"itch": file.framing}, file.midnight_ns)
        symbols = engine.arrays["n0_feed"]["symbols"][0]

        def take(name: str, rows: Any, _origins: Any) -> None:
            if sink is not None:
                sink.write(name, rows, symbols)

        began_s = time.perf_counter()
        if sink is not None:
            with sink:
                result = batch.run(engine, _watched(file, engine, progress), take)
                files = [str(path) for path in sink.commit()]
        else:
            result = batch.run(engine, _watched(file, engine, progress), take)
            files = []
    finally:
        progress.close()
    elapsed_s = time.perf_counter() - began_s
    feed = engine.arrays["n0_feed"]
    state = feed[0]
    messages = int(state["messages"])
    return {
        "messages": messages,
        "by_type": {chr(i): int(n) for i, n in enumerate(state["by_type"]) if n},
        "refused": refusals(feed),
        "gaps": int(state["gaps"]),
        "gap_messages": int(state["gap_messages"]),
        "duplicates": int(state["duplicates"]),
        "skipped_packets": dict(file.skipped),
        "late": result.counts.late,
        "book": counted(engine),
        "rows": result.counts.rows,
        "elapsed_s": round(elapsed_s, 6),
        "msgs_per_s": round(messages / elapsed_s) if elapsed_s > 0 else 0,
        "trading_date": str(file.trading_date),
        "digests": result.digests,
        "state_digest": result.state_digest,
        "files": files,
    }


def _watched(file: ItchFile, engine: Any, progress: Progress) -> Iterator[Any]:
    """The file's frames, with a line of progress now and then."""
    size = file.path.stat().st_size
    done = 0
    for run_of_frames in frames_of(file):
        yield run_of_frames
        done += run_of_frames[2]
        progress.update(done, size, int(engine.run["events"][0]), "messages")


def _text(summary: dict[str, Any], out: Path | None) -> str:
    kinds = "  ".join(f"{letter} {n:,}" for letter, n in summary["by_type"].items())
    refused = ", ".join(f"{n:,} {reason}" for reason, n in summary["refused"].items())
    lines = [
        f"{summary['messages']:,} messages in {summary['elapsed_s']:.2f} s, "
        f"{summary['msgs_per_s']:,} a second (trading date {summary['trading_date']})",
        f"  by type   {kinds}",
        f"  refused   {refused or 'none'};  gaps {summary['gaps']} "
        f"({summary['gap_messages']} messages), duplicates {summary['duplicates']}",
    ]
    if summary["book"]:
        odd = ", ".join(f"{n:,} {said}" for said, n in summary["book"].items())
        lines.append(f"  the book could not take {odd}")
    for name, rows in summary["rows"].items():
        lines.append(f"  {name:12s} {rows:>12,} rows   digest {summary['digests'][name]}")
    if out is not None:
        lines.append(f"  written to {out}")
    return "\n".join(lines)
