"""`onetape exchange` and `onetape relay`: a venue to listen to, and a bad network before it."""

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any

from onetape.connect.udp import LOOPBACK, Address, open_receiver, open_sender, parse_address
from onetape.native.interrupts import heeding_interrupts
from onetape.sim.exchange import Chunks, generate
from onetape.sim.exchange_options import TRADING_DATE
from onetape.sim.venue.exchange import Exchange, file_blocks
from onetape.sim.venue.faults import CORRUPT_KINDS, Faults
from onetape.sim.venue.packets import PACK_NS, PACKET_BYTES, pack_all, session_of
from onetape.sim.venue.relay import Relay

POLL_S = 0.05

EXCHANGE = """\
Serve a day of NASDAQ ITCH 5.0 as a venue does: MoldUDP64 datagrams of several messages, the same on
line A and line B, heartbeats in silence, three datagrams at the end of the session, and a server
for those who missed something (--rerequest).

It sends by the clock, whoever keeps up (open loop); how late it was itself is in the result. With
--restamp a message's time is when it was due to be sent, so that "received minus event time" is the
latency. A line on stdout says "ready" when everything is open, one on stderr how to listen (a node
is told the date, unless it is today's: messages have the time of day only). Sending begins
--start-after-s later, and requests are answered until --linger-s after the end. Ctrl-C ends the
session early, and its figures are told: exit status 0.
"""

EXCHANGE_EXAMPLES = """\
examples:
  onetape exchange --a 239.192.0.1:5000 --b 239.192.0.2:5000 --rerequest 127.0.0.1:5001
  onetape exchange --a 127.0.0.1:5000 --file day.itch --speed 10 --json
  onetape exchange --a 127.0.0.1:5000 --messages-per-s 100000 --restamp --spin   to measure latency
listen with
  onetape run standard --udp 239.192.0.1:5000 --udp 239.192.0.2:5000 \\
      --rerequest 127.0.0.1:5001 --tape tape/ --date 2026-01-05
"""

RELAY = """\
Pass datagrams on from one address to another as a bad network would: lost, twice, out of order,
late, damaged. What happens to a datagram depends on the seed and its ordinal alone. Chances are 0
to 1 for each datagram.

Damage of kind "frame" is such that a careful receiver refuses it for certain. Damage of kind "any"
may give a valid message that nobody can tell from a true one, since the UDP checksum is made anew
here: use it to see that nothing crashes.

A line on stdout says "ready". It ends with Ctrl-C, or --idle-s after the last datagram, and tells
its counts: exit status 0.
"""

RELAY_EXAMPLES = """\
example, one bad line of two:
  onetape exchange --a 127.0.0.1:6000 --b 127.0.0.1:5002 --rerequest 127.0.0.1:5001
  onetape relay --from 127.0.0.1:6000 --to 127.0.0.1:5000 --lose 0.05 --reorder 0.05 --corrupt 0.01
  onetape run standard --udp 127.0.0.1:5000 --udp 127.0.0.1:5002 \\
      --rerequest 127.0.0.1:5001 --tape tape/ --date 2026-01-05
"""


def add_parsers(subparsers: Any) -> None:
    """Add `exchange` and `relay` to the subparsers of the command line."""
    parser = subparsers.add_parser(
        "exchange",
        help="serve a simulated or recorded day on the network (MoldUDP64)",
        description=EXCHANGE,
        epilog=EXCHANGE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option("--a", metavar="ADDRESS", required=True, help="line A: HOST:PORT, may be a group")
    option("--b", metavar="ADDRESS", help="line B")
    option("--rerequest", metavar="ADDRESS", help="answer requests for missed messages here")
    option("--interface", default=LOOPBACK, metavar="IP", help="of groups (default: %(default)s)")
    day = parser.add_argument_group("the day")
    option = day.add_argument
    option("--file", type=Path, help="a recorded file of ITCH 5.0 instead of a simulated day")
    option("--seed", type=int, default=7, help="another seed, another day (default: %(default)s)")
    option("--instruments", type=int, default=100, help="1 to 8000 (default: %(default)s)")
    option("--seconds", type=float, default=10.0, help="of trading (default: %(default)s)")
    option("--messages-per-s", metavar="RATE", type=float, help="default: 50 an instrument")
    option("--episodes", type=int, default=8, help="of quote stuffing (default: %(default)s)")
    sending = parser.add_argument_group("sending")
    option = sending.add_argument
    option("--speed", type=float, default=1.0, help="x the day's own pace; 0: as fast as it goes")
    option("--session", metavar="NAME", help="up to 10 letters (default: another at each start)")
    option("--pack-us", type=float, default=PACK_NS / 1000, metavar="US",
           help="messages within so long share a datagram (default: %(default)s)")  # fmt: skip
    option("--packet-bytes", type=int, default=PACKET_BYTES, help="at most (default: %(default)s)")
    option("--restamp", action="store_true", help="event time is the scheduled send time, today")
    option("--spin", action="store_true", help="less late, but takes a processor")
    option("--start-after-s", type=float, default=0.5, metavar="S", help="(default: %(default)s)")
    option("--on-enter", action="store_true", help="begin when a line comes on stdin")
    option("--linger-s", type=float, default=2.0, metavar="S", help="(default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="the result as one JSON object")
    parser.set_defaults(run=run_exchange)
    _add_relay(subparsers)


def _add_relay(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "relay",
        help="pass datagrams on as a bad network would: lost, late, damaged, by a seed",
        description=RELAY,
        epilog=RELAY_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option("--from", dest="source", metavar="ADDRESS", required=True, help="take them here")
    option("--to", metavar="ADDRESS", required=True, help="send them on to")
    option("--interface", default=LOOPBACK, metavar="IP", help="of groups (default: %(default)s)")
    option("--seed", type=int, default=7)
    option("--lose", type=float, default=0.0, metavar="CHANCE")
    option("--duplicate", type=float, default=0.0, metavar="CHANCE")
    option("--reorder", type=float, default=0.0, metavar="CHANCE")
    option("--reorder-depth", type=int, default=16, metavar="N", help="behind 1 to N later ones")
    option("--corrupt", type=float, default=0.0, metavar="CHANCE", help="1 to 8 bits are flipped")
    option("--corrupt-kind", choices=CORRUPT_KINDS, default="frame", help="see above")
    option("--delay-spike", type=float, default=0.0, metavar="CHANCE")
    option("--delay-ms", type=float, default=50.0, metavar="MS")
    option("--idle-s", type=float, metavar="S", help="end so long after the last datagram")
    option("--json", action="store_true", help="the counts as one JSON object")
    parser.set_defaults(run=run_relay)


def run_exchange(args: argparse.Namespace) -> int:
    if args.session is None:  # as a venue's day: a node must not take it for the one before
        args.session = f"OT{time.time_ns() // 1_000_000 % 10**8:08d}"
    session = session_of(args.session)
    if args.file is not None:
        day, data = file_blocks(args.file)
    else:
        day, data = (
            TRADING_DATE,
            generate(
                seed=args.seed,
                instruments=args.instruments,
                seconds=args.seconds,
                messages_per_s=args.messages_per_s,
                episodes=args.episodes,
            ),
        )
    blocks = pack_all(
        data,
        session=session,
        pack_ns=round(args.pack_us * 1000),
        packet_bytes=args.packet_bytes,
    )
    lines = [parse_address(text) for text in (args.a, args.b) if text]
    rerequest = parse_address(args.rerequest) if args.rerequest else None
    with heeding_interrupts():  # it compiles
        exchange = Exchange(
            blocks,
            lines,
            session=session,
            rerequest=rerequest,
            packet_bytes=args.packet_bytes,
            speed=args.speed,
            spin=args.spin,
            restamp=args.restamp,
            interface=args.interface,
        )
    with _until_signal() as ended, exchange:
        print("ready", flush=True)
        print(_how_to_listen(args, lines, None if args.restamp else day), file=sys.stderr)
        if args.on_enter:
            sys.stdin.readline()
        began_s = time.perf_counter()
        exchange.start(start_after_s=args.start_after_s)
        while not ended.is_set() and not exchange.wait(POLL_S):
            pass
        elapsed_s = max(time.perf_counter() - began_s - args.start_after_s, 0.0)
        was_stopped = ended.wait(0)
        ended.wait(args.linger_s)
    facts = {
        "session": args.session,
        **exchange.statistics(),
        "elapsed_s": round(elapsed_s, 3),
        "stopped": was_stopped,
    }
    if isinstance(data, Chunks):
        facts["episodes"] = [episode.as_dict() for episode in data.labels]
    print(json.dumps(facts) if args.json else _exchange_text(facts))
    return 0


def _how_to_listen(args: argparse.Namespace, lines: list[Address], day: date | None) -> str:
    words = ["onetape run standard", *(f"--udp {line}" for line in lines)]
    words += [f"--interface {args.interface}"] if args.interface != LOOPBACK else []
    words += [f"--rerequest {args.rerequest}"] if args.rerequest else []
    words += ["--tape live/", *([f"--date {day}"] if day is not None else [])]
    return f"onetape: listen with: {' '.join(words)}"


def run_relay(args: argparse.Namespace) -> int:
    faults = Faults(**{field.name: getattr(args, field.name) for field in fields(Faults)})
    source, target = parse_address(args.source), parse_address(args.to)
    with (
        _until_signal() as ended,
        open_receiver(source, interface=args.interface) as receiver,
        open_sender(target, interface=args.interface) as sender,
        ThreadPoolExecutor(1, "relay") as pool,
    ):
        relay = Relay(receiver.fd, sender.fd, faults)
        passing = pool.submit(relay.run)
        print("ready", flush=True)
        heard, heard_s = 0, time.monotonic()
        while not passing.done() and not ended.wait(POLL_S):
            received = relay.counts()["received"]
            if received != heard:
                heard, heard_s = received, time.monotonic()
            idle_s = time.monotonic() - heard_s
            if heard > 0 and args.idle_s is not None and idle_s >= args.idle_s:
                break
        relay.stop()
        passing.result()
        facts = {"seed": args.seed, **relay.counts(), "kernel_drops": receiver.drops()}
    text = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in facts.items())
    print(json.dumps(facts) if args.json else text)
    return 0


@contextmanager
def _until_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that a run which is ended tells its figures."""
    ended = threading.Event()
    before = [
        (number, signal.signal(number, lambda *_: ended.set()))
        for number in (signal.SIGINT, signal.SIGTERM)
    ]
    try:
        yield ended
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _exchange_text(facts: dict[str, Any]) -> str:
    lines = [
        f"session {facts['session']}: {facts['messages']:,} messages in {facts['packets']:,} "
        f"datagrams, {facts['elapsed_s']:.1f} s, {facts['heartbeats']} heartbeats",
        f"  late by   p50 {facts['lateness_ns_p50'] / 1000:.1f} us, "
        f"p99 {facts['lateness_ns_p99'] / 1000:.1f} us, "
        f"at most {facts['lateness_ns_max'] / 1000:.1f} us",
    ]
    if any(facts["unsent"]):
        lines.append(f"  refused by the sockets: {facts['unsent']} datagrams, by line")
    if facts["requests"] is not None:
        asked = facts["requests"]
        refused = ", ".join(f"{n:,} {why}" for why, n in asked["refused"].items()) or "none"
        lines.append(f"  requests  {asked['answered']:,} answered, refused: {refused}")
    return "\n".join(lines)
