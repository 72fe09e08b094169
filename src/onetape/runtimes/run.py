"""`onetape run`: a pipeline live on a tape, fed from a recorded file; and `onetape explain`."""

import argparse
import json
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from onetape.connect.itch_file import LENGTH_PREFIXED, ItchFile, open_itch, today
from onetape.connect.udp import LOOPBACK, RECEIVE_BUFFER_BYTES, Address, parse_address
from onetape.engine import explain
from onetape.engine.digest import digests_of
from onetape.engine.graph import Pipeline, UdpSink
from onetape.engine.partition import BY
from onetape.engine.planner import plan
from onetape.engine.usage import line_of
from onetape.records import OperatorError, PeerError
from onetape.runtimes.account import lines_of
from onetape.runtimes.delivery import Delivery, rows_may_wait
from onetape.runtimes.edge import live
from onetape.runtimes.edge.control import Control
from onetape.runtimes.edge.feeder import FileFeeder
from onetape.runtimes.edge.network import Network
from onetape.runtimes.edge.node import DRAIN_PAUSE_S, EdgeNode
from onetape.runtimes.edge.words import STRATEGIES
from onetape.runtimes.ending import end_run, follow_swaps
from onetape.runtimes.inputs import feed_files, has_several_feeds, has_tables, inputs_of
from onetape.runtimes.listen import print_facts, run_network
from onetape.runtimes.progress import Progress
from onetape.runtimes.replay import note_date, parse_date, parse_zero_or_more
from onetape.runtimes.run_feeds import run_feeds
from onetape.runtimes.run_parts import lines_of as lines_of_parts
from onetape.runtimes.run_parts import run_parts
from onetape.runtimes.run_tables import run_tables
from onetape.runtimes.run_twin import run_twin, tape_of
from onetape.runtimes.same_run import origin_of, same_run
from onetape.runtimes.settings import add_options, load_with_settings
from onetape.runtimes.tables_first import begin_with, items_first, one_feed
from onetape.runtimes.twin import check_no_venue
from onetape.tape.checkpoint_keep import DEFAULT, Retention
from onetape.tape.inspect import is_open

CHUNK_BYTES = 8192

RUN_DESCRIPTION = """\
Run a pipeline at the edge: the compiled loop puts each read of the source on the tape, runs it and
publishes the rows; a journal thread makes the tape durable. The source is a recorded ITCH file, at
a multiple of its own pace (--speed) or as fast as it goes; or a live feed (--udp): MoldUDP64 on one
or more lines that carry the same numbers, missing messages asked for again (--rerequest), rows sent
on at once as datagrams (--send). The tape in DIR can be replayed and verified ever after: onetape
verify PIPELINE DIR. While it runs, `onetape top DIR` shows what it does.

A live run ends with the venue's session, after --seconds, or by Ctrl-C, and tells its figures: exit
status 0. A file that Ctrl-C cuts short is 130: go on with --resume.
"""
EXAMPLES = """\
examples:
  onetape run pipeline.py --file day.itch --tape tape/ --out out/
  onetape run pipeline.py --simulate --seconds 5 --seed 1
  onetape run standard --udp 239.192.0.1:5000 --udp 239.192.0.2:5000 --tape tape/ \\
      --rerequest 127.0.0.1:5001 --send alert=127.0.0.1:9000

Wait strategies: sleep (a datagram wakes the loop: near no processor while idle, some microseconds
more latency), yield, spin (least latency, one processor all of the time: leave another for the
journal). --cpu and --realtime help on machines with processors to spare and hurt on others.
"""


# What an option is when it is not given, of those that only a file or only a live feed has.
OF_FILE: dict[str, Any] = {"speed": None}
OF_LIVE: dict[str, Any] = {
    "rerequest": None,
    "send": [],
    "interface": LOOPBACK,
    "receive_buffer": RECEIVE_BUFFER_BYTES,
    "wait": "sleep",
    "commit_every": 0,
    "cpu": None,
    "realtime": None,
    "seconds": None,
}


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "run",
        help="run a pipeline at the edge, on a tape",
        description=RUN_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
    )
    parser.add_argument("pipeline", metavar="PIPELINE", help="a Python file, or 'standard'")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--file",
        action="append",
        metavar="FILE",
        help="ITCH 5.0 to feed, or FIX 4.4 of a drop copy; of several feeds NAME=FILE, again for "
        "each (--file fix=drop.fix --file itch=day.itch)",
    )
    source.add_argument(
        "--udp",
        action="append",
        default=None,
        metavar="ADDRESS",
        help="listen to a line of a live feed: HOST:PORT, a group or an address of this machine; "
        "again for its second line",
    )
    source.add_argument(
        "--simulate",
        action="store_true",
        help="the simulated twin of the venues that the pipeline names (binance:BTCUSDT)",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of --simulate (default: 1)")
    parser.add_argument(
        "--tape", type=Path, metavar="DIR", help="a new folder; only --simulate goes without"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="Parquet files of the outputs")
    parser.add_argument(
        "--speed",
        type=parse_zero_or_more,
        help="x the input's own pace; 0: as fast as it goes (default: 0; with --simulate: 1)",
    )
    parser.add_argument("--date", type=parse_date, metavar="YYYY-MM-DD", help="trading date")
    parser.add_argument(
        "--resume", action="store_true", help="go on with a run that was interrupted, same options"
    )
    parser.add_argument(
        "--checkpoint",
        type=parse_zero_or_more,
        default=30,
        metavar="S",
        help="seconds between checkpoints (default: %(default)s; 0: none)",
    )
    parser.add_argument(
        "--checkpoints",
        metavar="URL",
        help="bring them to s3://BUCKET/PREFIX too, beside the tape's folder",
    )
    parser.add_argument(
        "--retain",
        type=parse_retention,
        default=DEFAULT,
        metavar="N[,HOURS[,DAYS]]",
        help="keep the newest N checkpoints, and the last of each hour and day (default: 4,24,7)",
    )
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parts = parser.add_argument_group(
        "in parts, over recorded input: the same rows on several cores"
    )
    parts.add_argument("--partitions", type=int, metavar="N", help="parts by key, a thread each")
    parts.add_argument(
        "--partition-by", default=BY, metavar="FIELD", help="the key (default: %(default)s)"
    )
    live = parser.add_argument_group("a live feed")
    live.add_argument("--rerequest", metavar="ADDRESS", help="ask here for what is missing")
    live.add_argument(
        "--send", action="append", default=[], metavar="OUTPUT=ADDRESS", help="send its rows here"
    )
    live.add_argument(
        "--interface", default=LOOPBACK, metavar="IP", help="of groups (default: %(default)s)"
    )
    live.add_argument(
        "--receive-buffer",
        type=int,
        default=RECEIVE_BUFFER_BYTES,
        metavar="BYTES",
        help="of each line's socket (default: %(default)s)",
    )
    live.add_argument("--wait", choices=STRATEGIES, default="sleep", help="(default: %(default)s)")
    live.add_argument(
        "--commit-every",
        type=float,
        default=0,
        metavar="MS",
        help="of the journal, at most (default: as often as the disk allows)",
    )
    live.add_argument("--cpu", type=int, metavar="N", help="keep the loop on this processor")
    live.add_argument("--realtime", type=int, metavar="PRIORITY", help="1 to 99 (SCHED_FIFO)")
    live.add_argument("--seconds", type=parse_zero_or_more, metavar="S", help="end after this time")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    pipeline = load_with_settings(args)
    if args.simulate:
        return _run_twin(pipeline, args)
    given = _given(args.file)
    if not (given and has_several_feeds(pipeline)):
        check_no_venue(pipeline, f"onetape run {args.pipeline} --simulate --seconds 5")
    if has_several_feeds(pipeline) and not args.udp:
        return _run_feeds(pipeline, given, args)
    if isinstance(given, dict):
        (given,) = feed_files(pipeline, given).paths
    path = None if args.udp else given or _declared_file(pipeline)
    lines = args.udp or _live_addresses(pipeline)
    _check_needed(args.tape, has_input=has_tables(pipeline) or bool(path or lines))
    if args.partitions is not None:
        return _run_parts(pipeline, path, args)
    if has_tables(pipeline):
        _check_tape(args.tape, args.resume)
        return _run_tables(pipeline, args)
    _check_options(args, is_live=path is None)
    _check_tape(args.tape, args.resume)
    if path is None:
        return _listen(pipeline, lines, args)
    file = open_itch(path, trading_date=args.date, chunk_bytes=CHUNK_BYTES)
    if args.speed and file.framing != LENGTH_PREFIXED:
        raise OperatorError(
            f"--speed was {args.speed:g}, and {path} is a capture, whose datagrams are not paced; "
            "leave out --speed"
        )
    if _declared_sinks(pipeline):
        said = "rows of a run from a file are not sent: ot.udp(...) in the pipeline has no effect"
        print(f"onetape: {said}", file=sys.stderr)
    if not args.resume:
        note_date(file)
    if args.resume:
        before = same_run(
            pipeline, one_feed(pipeline).name, file, args.tape, CHUNK_BYTES, args.date
        )
        if before is not None and not rows_may_wait(pipeline):
            print(f"onetape: {args.tape} is complete; nothing was changed", file=sys.stderr)
            if args.json:
                print(json.dumps(before))
            return 0
    progress = Progress(quiet=args.json)
    facts = run_file(
        pipeline,
        file,
        args.tape,
        out=args.out,
        speed=args.speed or 0,
        resume=args.resume,
        **_saving(args),
        progress=progress,
    )
    _print_facts(facts, args)
    return 0


def parse_retention(text: str) -> Retention:
    numbers = text.split(",")
    if not 1 <= len(numbers) <= 3 or not all(n.isdecimal() for n in numbers) or int(numbers[0]) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected N[,HOURS[,DAYS]], N at least 1")
    return Retention(*[int(n) for n in [*numbers, "0", "0"][:3]])


def _saving(args: argparse.Namespace) -> dict[str, Any]:
    """The options of a node that are about checkpoints."""
    if args.checkpoints and not args.checkpoint:
        raise OperatorError("--checkpoint 0 makes none, and --checkpoints says where they go")
    return {
        "checkpoint_every_s": args.checkpoint,
        "retention": args.retain,
        "checkpoints": args.checkpoints,
    }


def _run_twin(pipeline: Pipeline, args: argparse.Namespace) -> int:
    for name, default in OF_LIVE.items():
        if name not in ("send", "seconds", "interface") and getattr(args, name) != default:
            option = f"--{name.replace('_', '-')}"
            raise OperatorError(f"{option} is of a live feed (--udp); leave it out")
    with tape_of(args.tape) as tape:
        _check_tape(tape, args.resume)
        facts = run_twin(
            pipeline,
            tape,
            seed=1 if args.seed is None else args.seed,
            seconds=args.seconds,
            speed=1 if args.speed is None else args.speed,
            sinks=_declared_sinks(pipeline) | _sends(args.send),
            interface=args.interface,
            out=args.out,
            resume=args.resume,
            **_saving(args),
            progress=Progress(quiet=args.json),
        )
        _print_facts(facts, args)
    return 0


def _run_feeds(pipeline: Pipeline, given: Any, args: argparse.Namespace) -> int:
    _check_options(args, is_live=False)
    if args.speed:
        raise OperatorError("--speed is of one ITCH file; files of several feeds are not paced")
    if args.tape is None:
        raise OperatorError("there is no folder for the tape: give a new one (--tape DIR)")
    _check_tape(args.tape, args.resume)
    facts = run_feeds(
        pipeline,
        args.tape,
        given,
        out=args.out,
        resume=args.resume,
        checkpoint_every_s=args.checkpoint,
        progress=Progress(quiet=args.json),
    )
    _print_facts(facts, args)
    return 0


def _given(files: list[str] | None) -> Any:
    """What --file says: None, a path, or {source: path}."""
    if not files:
        return None
    if len(files) == 1 and ("=" not in files[0] or Path(files[0]).exists()):
        return Path(files[0])
    pairs = [text.partition("=") for text in files]
    if bad := [name for name, equals, path in pairs if not (name and equals and path)]:
        raise OperatorError(f"--file was {bad[0]!r} among several; expected NAME=FILE for each")
    return {name: Path(path) for name, _, path in pairs}


def _run_tables(pipeline: Pipeline, args: argparse.Namespace) -> int:
    if args.udp or args.file:
        raise OperatorError(
            "the pipeline's sources are tables (ot.read); leave out --file and --udp"
        )
    facts = run_tables(
        pipeline,
        args.tape,
        out=args.out,
        resume=args.resume,
        **_saving(args),
        progress=Progress(quiet=args.json),
    )
    _print_facts(facts, args)
    return 0


def _run_parts(pipeline: Pipeline, path: Any, args: argparse.Namespace) -> int:
    given = [
        name for name, default in (OF_FILE | OF_LIVE).items() if getattr(args, name) != default
    ]
    given += [name for name in ("resume", "udp", "checkpoints") if getattr(args, name)]
    if given or (path is None and not has_tables(pipeline)):
        option = f"--{(given or ['udp'])[0].replace('_', '-')}"
        raise OperatorError(
            f"{option} does not go with --partitions: parts run over recorded input (a file, "
            "tables), as fast as it goes, from its beginning"
        )
    _check_tape(args.tape, False)
    inputs = inputs_of(pipeline, None if has_tables(pipeline) else path, args.date)
    facts = run_parts(
        pipeline,
        inputs,
        args.tape,
        count=args.partitions,
        by=args.partition_by,
        origin={"file": str(Path(path).resolve())} if path else {"tables": True},
        out=args.out,
        progress=Progress(quiet=args.json),
    )
    print(json.dumps(facts) if args.json else "\n".join(lines_of_parts(facts)))
    return 0


def _print_facts(facts: dict[str, Any], args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps(facts))
    else:
        before = facts.get("messages_before", 0)
        also = f" (and {before:,} that were there)" if before else ""
        on = f" on {args.tape}" if args.tape is not None else ""
        print(
            f"{facts['messages'] - before:,} events in {facts['elapsed_s']:.2f} s{on}{also}; "
            f"service p50 {facts['service_ns_p50'] / 1000:.1f} us, "
            f"p99 {facts['service_ns_p99'] / 1000:.1f} us a frame"
        )
        print("\n".join(lines_of(facts)))
        for name, digest in facts["digests"].items():
            print(f"  {name:12s} {facts['rows'][name]:>12,} rows   digest {digest}")
        for line in facts.get("delivered", []):
            print(f"  {line}")


def _listen(pipeline: Pipeline, lines: list[str], args: argparse.Namespace) -> int:
    feed = one_feed(pipeline).name
    network = Network(
        [parse_address(text) for text in lines],
        rerequest=parse_address(args.rerequest) if args.rerequest else None,
        sinks=_declared_sinks(pipeline) | _sends(args.send),
        interface=args.interface,
        receive_buffer_bytes=args.receive_buffer,
    )
    with network:
        for warning in network.warnings:
            print(f"onetape: {warning}", file=sys.stderr)
        facts = run_network(
            pipeline,
            network,
            args.tape,
            feed=feed,
            trading_date=args.date or today(),
            out=args.out,
            seconds=args.seconds,
            is_quiet=args.json,
            resume=args.resume,
            wait=args.wait,
            commit_every_ns=int(args.commit_every * 1e6),
            cpu=args.cpu,
            priority=args.realtime,
            **_saving(args),
        )
    print_facts(facts, args.json)
    return 0


def _check_needed(tape: Path | None, *, has_input: bool) -> None:
    """All that is missing, said at once."""
    missing = []
    if not has_input:
        missing.append(
            "there is nothing to run on: give a file (--file FILE) or the lines of a live feed "
            "(--udp HOST:PORT), or name one in the pipeline: source('itch:FILE') or "
            "source('itch+udp://HOST:PORT')"
        )
    if tape is None:
        missing.append("there is no folder for the tape: give a new one (--tape DIR)")
    if missing:
        raise OperatorError("; ".join(missing))


def _check_options(args: argparse.Namespace, *, is_live: bool) -> None:
    """An option that would do nothing is refused."""
    if args.seed is not None:
        raise OperatorError("--seed is of a simulated run (--simulate); leave it out")
    for name, default in (OF_FILE if is_live else OF_LIVE).items():
        if getattr(args, name) != default:
            option = f"--{name.replace('_', '-')}"
            raise OperatorError(
                f"{option} is of a recorded file (--file); a live feed comes at its own pace"
                if is_live
                else f"{option} is of a live feed (--udp); with a file it would do nothing, so "
                "leave it out" + (" (rows go to --out DIR)" if name == "send" else "")
            )


def _check_tape(tape: Path, resume: bool) -> None:
    """Before anything is compiled: can there be a new tape, or this one go on?"""
    if is_open(str(tape)):
        pid = (tape / "lock").read_text().strip()
        raise OperatorError(
            f"{tape} is the tape of a run that goes on (pid {pid}): watch it with onetape top "
            f"{tape}, end it with kill {pid}, or give a new folder"
        )
    if tape.exists() and not tape.is_dir():
        raise OperatorError(f"--tape {tape} is a file; give a new folder")
    if not resume and (tape / "manifest").exists():
        raise OperatorError(f"{tape} holds a tape; give a new folder, or go on with it (--resume)")
    if not resume and tape.is_dir() and any(tape.iterdir()):
        raise OperatorError(f"--tape {tape} is not empty; give a new folder")


def _declared_file(pipeline: Pipeline) -> Path | None:
    """The file that the pipeline itself names: source('itch:day.itch')."""
    for source in pipeline.sources:
        if source.feed and source.url and not source.url.startswith("udp://"):
            return Path(source.url)
    return None


def _sink(text: str) -> tuple[str, Address]:
    output, equals, address = text.partition("=")
    if not equals or "//" in output:
        raise OperatorError(f"--send was {text!r}; expected OUTPUT=HOST:PORT")
    if "//" in address:
        raise OperatorError(
            f"--send was {text!r}, and sends datagrams, to HOST:PORT; rows go to a web address "
            f"from the pipeline itself: {output}=stream >> ot.webhook({address!r})"
        )
    return output, parse_address(address)


def _sends(texts: list[str]) -> dict[str, Address]:
    pairs = [_sink(text) for text in texts]
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise OperatorError(
            f"--send was given twice for {twice[0]}; expected one address an output: a multicast "
            "group has any number of listeners"
        )
    return dict(pairs)


def _live_addresses(pipeline: Pipeline) -> list[str]:
    """The lines that the pipeline itself names: source('itch+udp://HOST:PORT,HOST:PORT')."""
    for source in pipeline.sources:
        if source.feed and source.url.startswith("udp://"):
            return source.url.removeprefix("udp://").split(",")
    return []


def _declared_sinks(pipeline: Pipeline) -> dict[str, Address]:
    """Where the pipeline itself sends the rows of its outputs: stream >> ot.udp('HOST:PORT')."""
    return {
        name: parse_address(sink.address)
        for name, stream in pipeline.outputs.items()
        for sink in stream.sinks
        if isinstance(sink, UdpSink)
    }


def run_file(
    pipeline: Pipeline,
    file: ItchFile,
    tape: Path,
    *,
    progress: Progress,
    out: Path | None = None,
    speed: float = 0,
    resume: bool = False,
    **saving: Any,
) -> dict[str, Any]:
    """Run a file through a node to its end; returns the facts `--json` prints.

    An interrupted run is resumed from its tape: the frames that are there are run again (for the
    state alone from the newest checkpoint on), and the file goes on with the frame after them.

    saving: how checkpoints are made, see `EdgeNode`.
    """
    feed = one_feed(pipeline).name
    with ExitStack() as stack:
        stack.callback(progress.close)
        with progress.compiling():
            node = EdgeNode(
                pipeline,
                tape,
                framing={feed: file.framing},
                midnight_ns=file.midnight_ns,
                origin=origin_of(file, CHUNK_BYTES),
                resume=resume,
                **saving,
            )
        digests = digests_of(node.plan)
        delivery = stack.enter_context(
            Delivery(
                pipeline,
                out=out,
                symbols=node.engine.feed_state(feed)["symbols"],
                durable=node.durable_offset,
                folder=tape,
            )
        )

        def take(blocks: Iterable[Any]) -> bool:
            taken = False
            for name, rows, origins in blocks:
                digests[name].update(rows, origins)
                delivery.take(name, rows, origins)
                taken = True
            return taken

        follow_swaps(node, digests, delivery)
        for line in node.recover(digests, delivery.take if delivery else None) if resume else []:
            print(f"onetape: {line}", file=sys.stderr)
        done, events_before = (int(node.engine.run[n][0]) for n in ("data_frames", "events"))
        done -= min(begin_with(node, items_first(pipeline), take), done)
        stack.enter_context(node)
        stack.enter_context(Control(node))
        feeder = FileFeeder(node, islice(file, done, None), speed=speed)
        stack.callback(feeder.stop)
        began_s = time.perf_counter()
        if not node.engine.sources["ended"][0]:
            feeder.start()
        size = file.path.stat().st_size
        while feeder.is_alive():
            events = int(node.engine.run["events"][0])
            if not take(node.drain()):
                progress.update(feeder.bytes_done, size, events, "events")
                time.sleep(DRAIN_PAUSE_S)
        try:
            feeder.check()
        except PeerError as why:
            raise PeerError(
                f"{why}; what came before is on {tape}, which can be replayed and verified: keep "
                "it, or delete it and run the whole file on a new tape"
            ) from why
        own = {"messages_before": events_before, "skipped_packets": dict(file.skipped)}
        facts = end_run(node, delivery, digests, take, began_s, own)
    facts["delivered"] = delivery.told()
    return facts


EXPLAIN_DESCRIPTION = """\
Show what a pipeline is made of: its nodes and what each takes, the settings and capacities they
have, the address space they reserve, the outputs and the size of a row, and with --driver the
generated code that runs it. Nothing is compiled and nothing runs. With --tape also how many keys
the node on that tape holds now (`onetape top` shows more).
"""


def add_explain_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "explain",
        help="show a pipeline's graph, state, capacities and generated driver",
        description=EXPLAIN_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  onetape explain standard\n  onetape explain pipeline.py --driver",
    )
    parser.add_argument("pipeline", metavar="PIPELINE", help="a Python file, or 'standard'")
    parser.add_argument("--driver", action="store_true", help="print the generated driver too")
    parser.add_argument("--tape", type=Path, metavar="TAPE", help="of a running node: what it uses")
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run_explain)


def run_explain(args: argparse.Namespace) -> int:
    planned = plan(load_with_settings(args))
    state = live.of_node(args.tape)["state"] if args.tape else {}
    if args.json:
        print(json.dumps(explain.explain(planned) | ({"state": state} if args.tape else {})))
        return 0
    print(explain.text(planned, driver=args.driver))
    for name, used in state.items():
        print(f"now {line_of(name, used)}")
    return 0
