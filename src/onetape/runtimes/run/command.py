"""`onetape run`: a pipeline live on a tape, fed by whatever its sources are."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from onetape.connect.itch_file import LENGTH_PREFIXED, open_itch, today
from onetape.connect.udp import Address, parse_address
from onetape.engine.graph import Pipeline, UdpSink
from onetape.records import OperatorError
from onetape.runtimes.account import lines_of
from onetape.runtimes.delivery import ROWS_WAIT, rows_may_wait
from onetape.runtimes.edge.network import Network
from onetape.runtimes.inputs import feed_files, has_several_feeds, has_tables, inputs_of
from onetape.runtimes.listen import print_facts, run_network
from onetape.runtimes.progress import Progress
from onetape.runtimes.replay import note_date
from onetape.runtimes.run.feeds import run_feeds
from onetape.runtimes.run.file import CHUNK_BYTES, run_file
from onetape.runtimes.run.kafka import run_kafka
from onetape.runtimes.run.on import check_not_on, run_on
from onetape.runtimes.run.options import (
    CHECKPOINT_S,
    OF_FILE,
    OF_LIVE,
    add_run_parser,
    check_needed,
    check_not_nats,
    check_options,
    check_tape,
    check_topic_options,
    given,
    saving,
    sends,
)
from onetape.runtimes.run.parts import lines_of as lines_of_parts
from onetape.runtimes.run.parts import run_parts
from onetape.runtimes.run.same import same_run
from onetape.runtimes.run.tables import run_tables
from onetape.runtimes.run.tables_first import one_feed
from onetape.runtimes.run.topic_options import topics_of
from onetape.runtimes.run.twin import run_twin, tape_of
from onetape.runtimes.schemas import check_and_register
from onetape.runtimes.settings import load_with_settings
from onetape.runtimes.twin import check_no_venue


def add_parser(subparsers: Any) -> None:
    add_run_parser(subparsers, run)


def run(args: argparse.Namespace) -> int:
    if args.on != "edge":
        return run_on(args)
    check_not_on(args)
    pipeline = load_with_settings(args)
    if args.checkpoint is None:
        args.checkpoint = CHECKPOINT_S
    check_topic_options(args)
    schema_ids = _schema_ids(pipeline, args)
    if args.kafka is not None:
        check_needed(args.tape, has_input=True)
        check_tape(args.tape, args.resume)
        facts = run_kafka(
            pipeline,
            args.tape,
            topics_of(pipeline, args, schema_ids),
            out=args.out,
            resume=args.resume,
            seconds=args.seconds,
            **saving(args),
            progress=Progress(quiet=args.json),
        )
        return _print_facts(facts, args)
    if args.simulate:
        return _run_twin(pipeline, args)
    if args.nats:
        from onetape.runtimes.run.nats import run_nats  # loads what speaks to servers

        return _print_facts(run_nats(pipeline, args), args)
    check_not_nats(args)
    named = given(args.file)
    if not (named and has_several_feeds(pipeline)):
        check_no_venue(pipeline, f"onetape run {args.pipeline} --simulate --seconds 5")
    if has_several_feeds(pipeline) and not args.udp:
        return _run_feeds(pipeline, named, args)
    if isinstance(named, dict):
        (named,) = feed_files(pipeline, named).paths
    path = None if args.udp else named or _declared_file(pipeline)
    lines = args.udp or _live_addresses(pipeline)
    check_needed(args.tape, has_input=has_tables(pipeline) or bool(path or lines))
    if args.partitions is not None:
        return _run_parts(pipeline, path, args)
    if has_tables(pipeline):
        check_tape(args.tape, args.resume)
        return _run_tables(pipeline, args)
    check_options(args, is_live=path is None)
    check_tape(args.tape, args.resume)
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
        **saving(args),
        progress=progress,
    )
    return _print_facts(facts, args)


def _schema_ids(pipeline: Pipeline, args: argparse.Namespace) -> dict[str, int]:
    """{output: id} in the registry, where one is named; its rules are held first."""
    if args.registry is None:
        if args.compatibility is not None:
            raise OperatorError("--compatibility is a rule of a registry: give --registry URL")
        return {}
    encoding = "avro" if args.encoding_out == "blocks" else args.encoding_out
    mode = args.compatibility
    return check_and_register(pipeline, args.registry, mode, args.topic_out, encoding)


def _run_twin(pipeline: Pipeline, args: argparse.Namespace) -> int:
    for name, default in OF_LIVE.items():
        if name not in ("send", "seconds", "interface") and getattr(args, name) != default:
            option = f"--{name.replace('_', '-')}"
            raise OperatorError(f"{option} is of a live feed (--udp); leave it out")
    with tape_of(args.tape) as tape:
        check_tape(tape, args.resume)
        facts = run_twin(
            pipeline,
            tape,
            seed=1 if args.seed is None else args.seed,
            seconds=args.seconds,
            speed=1 if args.speed is None else args.speed,
            sinks=_declared_sinks(pipeline) | sends(args.send),
            interface=args.interface,
            out=args.out,
            resume=args.resume,
            **saving(args),
            progress=Progress(quiet=args.json),
        )
        return _print_facts(facts, args)


def _run_feeds(pipeline: Pipeline, named: Any, args: argparse.Namespace) -> int:
    check_options(args, is_live=False)
    if args.speed:
        raise OperatorError("--speed is of one ITCH file; files of several feeds are not paced")
    if args.tape is None:
        raise OperatorError("there is no folder for the tape: give a new one (--tape DIR)")
    check_tape(args.tape, args.resume)
    facts = run_feeds(
        pipeline,
        args.tape,
        named,
        out=args.out,
        resume=args.resume,
        checkpoint_every_s=args.checkpoint,
        progress=Progress(quiet=args.json),
    )
    return _print_facts(facts, args)


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
        **saving(args),
        progress=Progress(quiet=args.json),
    )
    return _print_facts(facts, args)


def _run_parts(pipeline: Pipeline, path: Any, args: argparse.Namespace) -> int:
    refused = [
        name for name, default in (OF_FILE | OF_LIVE).items() if getattr(args, name) != default
    ]
    refused += [name for name in ("resume", "udp", "checkpoints") if getattr(args, name)]
    if refused or (path is None and not has_tables(pipeline)):
        option = f"--{(refused or ['udp'])[0].replace('_', '-')}"
        raise OperatorError(
            f"{option} does not go with --partitions: parts run over recorded input (a file, "
            "tables), as fast as it goes, from its beginning"
        )
    check_tape(args.tape, False)
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
    return ROWS_WAIT if facts["rows_waiting"] else 0


def _print_facts(facts: dict[str, Any], args: argparse.Namespace) -> int:
    """The exit status: rows that nobody has taken yet are no success."""
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
    return ROWS_WAIT if facts.get("rows_waiting") else 0


def _listen(pipeline: Pipeline, lines: list[str], args: argparse.Namespace) -> int:
    feed = one_feed(pipeline).name
    network = Network(
        [parse_address(text) for text in lines],
        rerequest=parse_address(args.rerequest) if args.rerequest else None,
        sinks=_declared_sinks(pipeline) | sends(args.send),
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
            **saving(args),
        )
    print_facts(facts, args.json)
    return ROWS_WAIT if facts["rows_waiting"] else 0


def _declared_file(pipeline: Pipeline) -> Path | None:
    """The file that the pipeline itself names: source('itch:day.itch')."""
    for source in pipeline.sources:
        if source.feed and source.url and not source.url.startswith("udp://"):
            return Path(source.url)
    return None


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
