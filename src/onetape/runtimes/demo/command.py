"""`onetape demo`: a simulated exchange on the network, or a real file, live in the terminal."""

import argparse
import json
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from onetape.compiled.counts import percentile_ns
from onetape.connect.itch_file import LENGTH_PREFIXED, midnight_ns, open_itch
from onetape.connect.rows_receiver import RowsReceiver
from onetape.connect.udp import multicast_works, parse_address
from onetape.engine.digest import digests_of
from onetape.records import OperatorError
from onetape.records.declare import copied
from onetape.records.market import OPEN
from onetape.runtimes.demo.exchange import DemoExchange
from onetape.runtimes.demo.view import View
from onetape.runtimes.edge.feeder import FileFeeder
from onetape.runtimes.edge.network import Network
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.progress import Progress
from onetape.runtimes.replay import note_date, parse_date
from onetape.runtimes.standard import pipeline
from onetape.sim.exchange_options import TRADING_DATE

CHUNK_BYTES = 1400  # about what one datagram of a feed holds
FEED = "itch"
PAUSE_S, FAST_PAUSE_S = 0.02, 0.002
GROUPS = ("239.192.7.1:0", "239.192.7.2:0")  # line A and B; the system chooses the ports
HERE = "127.0.0.1:0"

DESCRIPTION = """\
Watch the whole path work: a simulated exchange, a process of its own, sends an ITCH 5.0 feed made
from a seed by multicast on two lines, with bursts of quote stuffing at times that only it knows;
the hot loop takes it from the network, records it on a tape, keeps every order book, and sends
alerts as datagrams; the screen shows best bid and ask, VWAP, messages a second, gaps, alerts. At
the end the alerts are compared with what the exchange planted. With --lose there is one line, with
a bad network before it, and the exchange is asked again for what is missing.
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "demo",
        help="a simulated exchange, live in the terminal",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  onetape demo\n  onetape demo --speed 10 --instruments 500\n"
        "  onetape demo --lose 0.05\n"
        "  onetape demo --file day.itch --speed 60\n  onetape demo --seconds 10 --seed 7 --json",
    )
    option = parser.add_argument
    option("--file", type=Path, metavar="FILE", help="a real ITCH file instead of the simulation")
    option("--seconds", type=float, default=20, help="of simulated trading (default: %(default)s)")
    option("--seed", type=int, default=7, help="of the simulation (default: %(default)s)")
    option("--instruments", type=int, default=100, help="1 to 8000 (default: %(default)s)")
    option("--episodes", type=int, default=4, help="of quote stuffing (default: %(default)s)")
    option("--messages-per-s", type=float, metavar="RATE", help="(default: 50 an instrument)")
    option("--lose", type=float, default=0, metavar="CHANCE", help="of a datagram, 0 to 1")
    option(
        "--speed",
        type=float,
        default=1.0,
        help="seconds of the feed in a second of yours (default: %(default)s); with --file also 0: "
        "as fast as it goes",
    )
    option("--date", type=parse_date, metavar="YYYY-MM-DD", help="trading date of FILE")
    option("--tape", type=Path, metavar="DIR", help="keep the tape here (a new folder)")
    option("--json", action="store_true", help="no screen; print one JSON object at the end")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if not args.speed >= (0 if args.file else 0.01):
        least = "0 (as fast as it goes)" if args.file else "0.01"
        raise OperatorError(f"--speed was {args.speed}; expected {least} or more")
    if not 0 <= args.lose < 1:
        raise OperatorError(f"--lose was {args.lose}; expected a chance, 0 to below 1")
    scratch = Path(tempfile.mkdtemp(prefix="onetape-demo-"))
    try:
        tape = args.tape or scratch / "tape"
        summary = _from_file(args, tape) if args.file else _from_network(args, tape)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(json.dumps(summary) if args.json else _text(summary))
    return 0


def _from_network(args: argparse.Namespace, tape: Path) -> dict[str, Any]:
    """The exchange in a process of its own, the node in this one, the loopback between them."""
    by_multicast = multicast_works()
    if not by_multicast:
        print("onetape: multicast is refused here; the demo uses unicast", file=sys.stderr)
    addresses = [parse_address(text) for text in (GROUPS if by_multicast else (HERE, HERE))]
    addresses = addresses[:1] if args.lose else addresses
    with ExitStack() as stack:
        records = [stream.of for stream in pipeline.outputs.values()]
        alerts = stack.enter_context(RowsReceiver(parse_address(HERE), records))
        exchange = DemoExchange(args)
        network = stack.enter_context(
            Network(addresses, rerequest=exchange.asked_at, sinks={"alert": alerts.address})
        )
        stack.callback(exchange.close)
        exchange.start([receiver.address for receiver in network.receivers])
        with Progress(quiet=args.json).compiling():
            node = EdgeNode(
                pipeline,
                tape,
                framing={FEED: "moldudp64"},
                midnight_ns=midnight_ns(TRADING_DATE),
                **network.options(),
            )
            exchange.wait_ready()
        watch = _Watch(node, args, network)
        heard: list[tuple[int, int]] = []  # alerts as they came: event time, arrival
        with node, watch.view:
            exchange.begin()
            while not _is_over(node) and exchange.is_running():
                watch.step(PAUSE_S)
                heard += _opened(alerts)
            node.push_end()
            watch.finish()
            heard += _opened(alerts)
        summary = watch.summary(exchange.result())
        wire = exchange.latencies(heard)
    return summary | {
        "wire_ns_p50": percentile_ns(wire, 50),
        "wire_ns_p90": percentile_ns(wire, 90),
        "kernel_drops": watch.drops,
    }


def _from_file(args: argparse.Namespace, tape: Path) -> dict[str, Any]:
    file = open_itch(args.file, trading_date=args.date, chunk_bytes=CHUNK_BYTES)
    note_date(file)
    with Progress(quiet=args.json).compiling():
        node = EdgeNode(pipeline, tape, framing={FEED: file.framing}, midnight_ns=file.midnight_ns)
    speed = args.speed if file.framing == LENGTH_PREFIXED else 0.0
    if speed != args.speed:
        said = f"{args.file} is a capture, whose datagrams are not paced: as fast as it goes"
        print(f"onetape: {said}", file=sys.stderr)
    watch = _Watch(node, args, None)
    with node, watch.view:
        feeder = FileFeeder(node, file, speed=speed)
        feeder.start()
        try:
            while feeder.is_alive():
                watch.step(PAUSE_S if speed else FAST_PAUSE_S)
            feeder.check()
            watch.finish()
        finally:
            feeder.stop()
    return watch.summary(None)


class _Watch:
    """What is shown and counted of a node while it runs."""

    def __init__(self, node: EdgeNode, args: argparse.Namespace, network: Network | None) -> None:
        self._node, self._network = node, network
        self._digests = digests_of(node.plan)
        self._alerts: list[Any] = []
        is_live = not args.json and sys.stdout.isatty()
        self.view = View(node, args.speed, network, live=is_live)
        self.drops = 0
        self._began_s = time.perf_counter()
        self._elapsed_s = 0.0

    def step(self, pause_s: float) -> None:
        self._take(self._node.drain())
        self.view.refresh()
        time.sleep(pause_s)

    def finish(self) -> None:
        """Let the loop finish what has come, and make it durable."""
        self._take(self._node.stop())
        self._elapsed_s = time.perf_counter() - self._began_s
        self._node.tape.sync()
        self.drops = self._network.drops() if self._network is not None else 0
        self.view.refresh(last=True)

    def summary(self, exchange: dict[str, Any] | None) -> dict[str, Any]:
        feed = self._node.engine.arrays["n0_feed"][0]
        counts = self._node.engine.counts()
        opened = [alert for alert in self._alerts if alert["state"] == OPEN]
        labels = exchange["episodes"] if exchange is not None else []
        elapsed_s = self._elapsed_s
        return {
            "messages": int(feed["messages"]),
            "messages_per_s": round(int(feed["messages"]) / elapsed_s) if elapsed_s else 0,
            "instruments": int((feed["symbols"] != 0).sum()),
            "alerts": len(opened),
            "episodes_planted": len(labels),
            "episodes_caught": _caught(labels, opened),
            "gaps": int(feed["gaps"]),
            "lost": int(feed["gap_messages"]),
            "late": counts.late,
            "dropped": int(feed["refused"].sum()),
            "elapsed_s": round(elapsed_s, 3),
            "digests": {name: digest.hexdigest() for name, digest in self._digests.items()},
        }

    def _take(self, blocks: Any) -> None:
        for name, rows, origins in blocks:
            self._digests[name].update(rows, origins)
            if name == "alert":
                self._alerts += list(copied(rows))
            self.view.take(name, rows)


def _is_over(node: EdgeNode) -> bool:
    """Has the venue ended the session, and has all of it come?"""
    feed = node.engine.feed_state(FEED)
    return bool(feed["ended"]) and not feed["gap_open"]


def _opened(alerts: RowsReceiver) -> list[tuple[int, int]]:
    """(event time, arrival) of the opening alerts that have come as datagrams."""
    return [
        (int(row["ts_event_ns"]), ts_recv_ns)
        for _, rows, ts_recv_ns in alerts.waiting()
        for row in rows
        if row["state"] == OPEN
    ]


def _caught(labels: list[Any], opened: list[Any]) -> int:
    """Planted episodes with an alert of their instrument inside their time."""
    return sum(
        any(
            int(a["instrument_id"]) == label["instrument_id"]
            and label["first_ts_event_ns"] <= int(a["ts_event_ns"]) <= label["last_ts_event_ns"]
            for a in opened
        )
        for label in labels
    )


def _text(summary: dict[str, Any]) -> str:
    planted = summary["episodes_planted"]
    caught = f", {summary['episodes_caught']} of {planted} planted episodes" if planted else ""
    wire = ""
    if "wire_ns_p50" in summary:
        wire = (
            "from the wire to an alert's arrival: half within "
            f"{summary['wire_ns_p50'] / 1e3:,.0f} us, "
            f"nine of ten within {summary['wire_ns_p90'] / 1e3:,.0f} us\n"
        )
    return (
        f"{summary['messages']:,} messages of {summary['instruments']} instruments in "
        f"{summary['elapsed_s']:.1f} s ({summary['messages_per_s']:,} a second)\n"
        f"{summary['alerts']} alerts{caught}; gaps {summary['gaps']}, lost {summary['lost']}, "
        f"late {summary['late']}, refused {summary['dropped']}\n"
        f"{wire}"
        "the same feed gives the same digests, in every runtime:\n"
        + "\n".join(f"  {name:12s} {digest}" for name, digest in summary["digests"].items())
    )
