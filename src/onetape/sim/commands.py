"""`onetape sim`: make a day of market data to try things on, with the answers to check against."""

import argparse
import json
import sys
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from onetape.records import OnetapeError, OperatorError
from onetape.sim.exchange import Written, write_file, write_whole
from onetape.sim.exchange_options import TRADING_DATE
from onetape.sim.own_day import OwnDay

DESCRIPTION = """\
Write a simulated trading day as a NASDAQ ITCH 5.0 file.

The exchange keeps real order books: what the file says is consistent to the last share. Some
instruments are hit by quote stuffing, bursts of orders placed and deleted within milliseconds;
--labels tells where, and nothing else in the file makes more than five cancels of one instrument
in 10 ms. So the file comes with the right answers for a detector of that pattern.

The same options always give the same bytes, on any machine (compare the sha256).
"""

EXAMPLES = """\
examples:
  onetape sim --out day.itch
  onetape sim --seed 7 --instruments 500 --seconds 60 --episodes 10 \\
      --out day.itch --labels day.labels.json
  onetape sim --seconds 5 --out 01052026.itch --drop-copy drop.fix
      a day on which own accounts trade too, and some of them spoof
  onetape sim --instruments 1000 --seconds 60 --messages-per-s 167000 --out big.itch
      10 million messages, 314 MB, a few seconds
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add `sim` to the subparsers of the command line; its handler is `run`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "sim",
        help="write a simulated market day (ITCH 5.0), with labelled quote stuffing",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option("--out", metavar="FILE", type=Path, required=True, help="where the file goes")
    option("--labels", metavar="FILE", type=Path, help="where the episodes go, as JSON")
    option(
        "--drop-copy",
        metavar="FILE",
        type=Path,
        help="where the reports of own accounts go, FIX 4.4; --labels then tells who spoofs",
    )
    option("--seed", type=int, default=7, help="another seed, another day (default: %(default)s)")
    option("--instruments", type=int, default=100, help="1 to 8000 (default: %(default)s)")
    option(
        "--seconds", type=float, default=10.0, help="of trading, from 09:30 (default: %(default)s)"
    )
    option(
        "--messages-per-s",
        metavar="RATE",
        type=float,
        help="over all instruments, on average (default: 50 for each instrument)",
    )
    option("--episodes", type=int, default=8, help="of quote stuffing (default: %(default)s)")
    option(
        "--trading-date",
        metavar="YYYY-MM-DD",
        type=date.fromisoformat,
        default=TRADING_DATE,
        help="decides the UTC times in the labels; the file has none (default: %(default)s)",
    )
    option("--json", action="store_true", help="print the result as one JSON object")
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Make the file; the exit status: 0, or 2 with a line on stderr that says what to change."""
    try:
        began_s = time.perf_counter()
        show = _Progress()
        _check_labels(args.out, args.labels)
        if args.drop_copy is not None:
            return _run_own_day(args)
        try:
            written = write_file(
                args.out,
                seed=args.seed,
                instruments=args.instruments,
                seconds=args.seconds,
                messages_per_s=args.messages_per_s,
                episodes=args.episodes,
                trading_date=args.trading_date,
                progress=show,
            )
        finally:
            show.clear()
        if args.labels is not None:
            write_whole(args.labels, [_labels_json(written).encode()])
    except OnetapeError as error:
        print(f"onetape sim: {error}", file=sys.stderr)
        return 2
    elapsed_s = time.perf_counter() - began_s
    if args.json:
        print(json.dumps(_summary(args, written, elapsed_s)))
    else:
        print(_report(args, written, elapsed_s))
    return 0


def _run_own_day(args: argparse.Namespace) -> int:
    """Write a day with own accounts: ITCH, their drop copy, and which episodes are spoofs."""
    others = (args.instruments, args.messages_per_s, args.episodes, args.trading_date)
    if others != (100, None, 8, TRADING_DATE):
        raise OperatorError(
            "--drop-copy makes a day of 20 instruments on 2026-01-05 with episodes of its own; "
            "leave out --instruments, --messages-per-s, --episodes and --trading-date"
        )
    day = OwnDay(seed=args.seed, milliseconds=int(args.seconds * 1000))
    pieces: dict[str, list[bytes]] = {"itch": [], "fix": []}
    for feed, _, payload in day:
        pieces[feed].append(payload)
    sizes = [write_whole(args.out, pieces["itch"]), write_whole(args.drop_copy, pieces["fix"])]
    over = [episode for episode in day.episodes if episode.pulled_ns]
    if args.labels is not None:
        told = [asdict(episode) | {"is_spoof": episode.is_spoof} for episode in over]
        write_whole(args.labels, [json.dumps({"episodes": told}, indent=1).encode()])
    facts = {
        "out": str(args.out),
        "drop_copy": str(args.drop_copy),
        "size_bytes": sum(sizes),
        "reports": len(pieces["fix"]),
        "episodes": len(over),
        "spoofs": sum(episode.is_spoof for episode in over),
    }
    print(
        json.dumps(facts)
        if args.json
        else f"{args.out} and {args.drop_copy}: {facts['reports']:,} reports, {facts['episodes']} "
        f"episodes, {facts['spoofs']} of them spoofs"
    )
    return 0


def _check_labels(out: Path, labels: Path | None) -> None:
    """Say before the long part what would go wrong after it."""
    if labels is None:
        return
    if labels.resolve() == out.resolve():
        raise OperatorError(
            f"--out and --labels both name {out}; give the labels a file of their own"
        )
    if not labels.parent.is_dir():
        raise OperatorError(
            f"cannot write {labels}: {labels.parent} is not a folder; make it first, "
            f"or name another"
        )


class _Progress:
    """One line on stderr that is written over; nothing where stderr is not a terminal."""

    def __init__(self) -> None:
        self._shows = sys.stderr.isatty()
        self._next_s = 0.0
        if self._shows:
            print(
                "preparing (the first run compiles, for some seconds) ...",
                end="\r",
                flush=True,
                file=sys.stderr,
            )

    def __call__(self, done: float, messages: int) -> None:
        if self._shows and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + 0.2
            line = f"{100 * done:3.0f} %  {messages:,} messages"
            print(f"{line:<60}", end="\r", flush=True, file=sys.stderr)

    def clear(self) -> None:
        if self._shows:
            print(" " * 60, end="\r", flush=True, file=sys.stderr)


def _labels_json(written: Written) -> str:
    options = written.options
    head = {
        "file": written.path.name,
        "sha256": written.sha256,
        "seed": options.seed,
        "trading_date": options.trading_date.isoformat(),
        "rule": "more than 5 cancel messages (D, X, U) of one instrument in [t - 10 ms, t]",
    }
    return json.dumps(head | {"episodes": [e.as_dict() for e in written.labels]}, indent=1) + "\n"


def _summary(args: argparse.Namespace, written: Written, elapsed_s: float) -> dict[str, Any]:
    return {
        "out": str(args.out),
        "labels": None if args.labels is None else str(args.labels),
        "messages": written.messages,
        "size_bytes": written.size_bytes,
        "sha256": written.sha256,
        "counts": written.counts,
        "episodes": len(written.labels),
        "elapsed_s": round(elapsed_s, 3),
    }


def _report(args: argparse.Namespace, written: Written, elapsed_s: float) -> str:
    mix = "  ".join(
        f"{letter} {100 * count / written.messages:.1f} %"
        for letter, count in sorted(written.counts.items(), key=lambda item: -item[1])
    )
    lines = [
        f"{args.out}: {written.messages:,} messages, {written.size_bytes:,} bytes, "
        f"in {elapsed_s:.1f} s",
        f"  mix       {mix}",
        f"  episodes  {len(written.labels)} of quote stuffing"
        + (f", listed in {args.labels}" if args.labels is not None else ""),
        f"  sha256    {written.sha256}",
    ]
    return "\n".join(lines)
