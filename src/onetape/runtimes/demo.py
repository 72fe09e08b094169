"""`onetape demo`: a simulated exchange, or a real file, live in the terminal, feed to alert."""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from onetape.connect.itch_file import ItchFile, open_itch
from onetape.engine.digest import digests_of
from onetape.records import OperatorError
from onetape.records.market import OPEN
from onetape.runtimes.demo_view import View
from onetape.runtimes.edge.feeder import FileFeeder
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.progress import Progress
from onetape.runtimes.replay import parse_date
from onetape.runtimes.standard import pipeline
from onetape.sim.exchange_options import TRADING_DATE, new_york_midnight_ns

CHUNK_BYTES = 1400  # about what one datagram of a feed holds
FEED = "itch"

DESCRIPTION = """\
Watch the whole path work: a simulated exchange writes an ITCH 5.0 feed from a seed, with bursts of
quote stuffing at times that only it knows; the hot loop records it on a tape, keeps every order
book, and raises alerts; the screen shows best bid and ask, VWAP, messages a second, gaps and
alerts. At the end the alerts are compared with what the exchange planted.
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "demo",
        help="a simulated exchange, live in the terminal",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  onetape demo\n  onetape demo --speed 10 --instruments 500\n"
        "  onetape demo --file day.itch --speed 60\n  onetape demo --seconds 10 --seed 7 --json",
    )
    option = parser.add_argument
    option("--file", type=Path, metavar="FILE", help="a real ITCH file instead of the simulation")
    option("--seconds", type=float, default=20, help="of simulated trading (default: %(default)s)")
    option("--seed", type=int, default=7, help="of the simulation (default: %(default)s)")
    option("--instruments", type=int, default=100, help="1 to 8000 (default: %(default)s)")
    option("--episodes", type=int, default=4, help="of quote stuffing (default: %(default)s)")
    option("--messages-per-s", type=float, metavar="RATE", help="(default: 50 an instrument)")
    option(
        "--speed",
        type=float,
        help="seconds of the feed in a second of yours; 0: as fast as it goes "
        "(default: 1, with --json 0)",
    )
    option("--date", type=parse_date, metavar="YYYY-MM-DD", help="trading date of FILE")
    option("--tape", type=Path, metavar="DIR", help="keep the tape here (a new folder)")
    option("--json", action="store_true", help="no screen; print one JSON object at the end")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    speed = args.speed if args.speed is not None else (0.0 if args.json else 1.0)
    if speed < 0:
        raise OperatorError(f"--speed was {speed}; expected 0 (as fast as it goes) or more")
    scratch = Path(tempfile.mkdtemp(prefix="onetape-demo-"))
    exchange = None
    try:
        if args.file is None:
            exchange = Exchange(args, scratch)
            framing, midnight_ns = "length_prefixed", exchange.midnight_ns
        else:
            file = open_itch(args.file, trading_date=args.date, chunk_bytes=CHUNK_BYTES)
            framing, midnight_ns = file.framing, file.midnight_ns
        with Progress(quiet=args.json).compiling():
            node = EdgeNode(
                pipeline,
                args.tape or scratch / "tape",
                framing={FEED: framing},
                midnight_ns=midnight_ns,
            )
            if exchange is not None:
                file = exchange.file()
        labels = exchange.labels if exchange is not None else []
        summary = _watch(node, file, labels, speed if framing == "length_prefixed" else 0.0, args)
    finally:
        if exchange is not None:
            exchange.close()
        shutil.rmtree(scratch, ignore_errors=True)
    print(json.dumps(summary) if args.json else _text(summary))
    return 0


class Exchange:
    """The simulated exchange, in a process of its own: it writes its day while we compile."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.midnight_ns = new_york_midnight_ns(TRADING_DATE)
        self.labels: list[Any] = []
        self._path, self._labels_path = folder / "exchange.itch", folder / "labels.json"
        command = [sys.executable, "-m", "onetape.cli", "sim", "--out", str(self._path), "--json"]
        command += ["--labels", str(self._labels_path)]
        for option in ("seed", "instruments", "seconds", "episodes", "messages_per_s"):
            value = getattr(args, option)
            if value is not None:
                command += [f"--{option.replace('_', '-')}", str(value)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def file(self) -> ItchFile:
        """Wait for the day to be written; OperatorError with the exchange's own words if not."""
        _, said = self._process.communicate()
        if self._process.returncode != 0:
            last = said.strip().splitlines()[-1:] or ["the simulated exchange failed"]
            raise OperatorError(last[0].removeprefix("onetape: "))
        found = json.loads(self._labels_path.read_text())
        self.labels = found["episodes"]
        return open_itch(self._path, trading_date=TRADING_DATE, chunk_bytes=CHUNK_BYTES)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def _watch(
    node: EdgeNode, file: ItchFile, labels: list[Any], speed: float, args: argparse.Namespace
) -> dict[str, Any]:
    digests = digests_of(node.plan)
    alerts: list[Any] = []
    view = View(node, speed, live=not args.json and sys.stdout.isatty())
    began_s = time.perf_counter()
    with node, view:
        feeder = FileFeeder(node, file, speed=speed)
        feeder.start()
        try:
            while feeder.is_alive():
                _take(node.drain(), digests, alerts, view)
                view.refresh()
                time.sleep(0.002 if speed == 0 else 0.02)
            feeder.check()
            _take(node.stop(), digests, alerts, view)
            elapsed_s = time.perf_counter() - began_s
            node.tape.sync()
            view.refresh(last=True)
        finally:
            feeder.stop()
        feed = node.engine.arrays["n0_feed"][0]
        counts = node.engine.counts()
    opened = [a for a in alerts if a["state"] == OPEN]
    return {
        "messages": int(feed["messages"]),
        "messages_per_s": round(int(feed["messages"]) / elapsed_s) if elapsed_s else 0,
        "instruments": int((feed["symbols"] != 0).sum()),
        "alerts": len(opened),
        "episodes_planted": len(labels),
        "episodes_caught": _caught(labels, opened, file.midnight_ns),
        "gaps": int(feed["gaps"]),
        "late": counts.late,
        "dropped": int(feed["refused"].sum()),
        "elapsed_s": round(elapsed_s, 3),
        "digests": {name: digest.hexdigest() for name, digest in digests.items()},
    }


def _take(blocks: Any, digests: Any, alerts: list[Any], view: View) -> None:
    for name, rows, origins in blocks:
        digests[name].update(rows, origins)
        if name == "alert":
            alerts += list(rows.copy())
        view.take(name, rows)


def _caught(labels: list[Any], opened: list[Any], midnight_ns: int) -> int:
    """Planted episodes with an alert of their instrument inside their time."""
    return sum(
        any(
            int(a["instrument_id"]) == label["instrument_id"]
            and label["first_ts_ns"] <= int(a["ts_event_ns"]) - midnight_ns <= label["last_ts_ns"]
            for a in opened
        )
        for label in labels
    )


def _text(summary: dict[str, Any]) -> str:
    planted = summary["episodes_planted"]
    caught = f", {summary['episodes_caught']} of {planted} planted episodes" if planted else ""
    return (
        f"{summary['messages']:,} messages of {summary['instruments']} instruments in "
        f"{summary['elapsed_s']:.1f} s ({summary['messages_per_s']:,} a second)\n"
        f"{summary['alerts']} alerts{caught}; gaps {summary['gaps']}, late {summary['late']}, "
        f"refused {summary['dropped']}\n"
        "the same feed gives the same digests, in every runtime:\n"
        + "\n".join(f"  {name:12s} {digest}" for name, digest in summary["digests"].items())
    )
