"""What the command line says about topics, with what reads and writes their records."""

import argparse
from typing import Any

from onetape.codecs.event import decoder, encoder
from onetape.connect.kafka.settings import settings
from onetape.connect.registry import Registry
from onetape.engine.graph import Pipeline
from onetape.records import OperatorError
from onetape.runtimes.run.kafka import BLOCKS, Topics


def topics_of(pipeline: Pipeline, args: argparse.Namespace, schema_ids: dict[str, int]) -> Topics:
    """OperatorError: the pipeline does not take what the topic holds.

    schema_ids  {output: id} in the registry, if one was named
    """
    registry = Registry(args.registry) if args.registry else None
    return Topics(
        settings=settings(args.kafka, args.kafka_options),
        topic=args.topic,
        topic_out=args.topic_out or "",
        encoding=args.encoding,
        encoding_out=args.encoding_out,
        decode=_decode(pipeline, args.encoding, registry),
        encoders=_encoders(pipeline, args, schema_ids),
        dead_letters=args.dead_letters or "",
        to_end=args.to_end,
        transaction_s=args.transaction / 1000,
    )


def _decode(pipeline: Pipeline, encoding: str, registry: Registry | None) -> Any:
    """Of the record of its one source."""
    if encoding == BLOCKS:
        return None
    sources = pipeline.sources
    if len(sources) != 1 or sources[0].feed:
        names = ", ".join(source.name for source in sources)
        raise OperatorError(
            f"--encoding {encoding}: events of one record go to a pipeline of one source of that "
            "record (ot.source(Record)); its sources are " + names
        )
    return decoder(
        sources[0].of, encoding, schema_of=registry.schema if registry is not None else None
    )


def _encoders(
    pipeline: Pipeline, args: argparse.Namespace, schema_ids: dict[str, int]
) -> dict[str, Any] | None:
    """{output: what writes its rows}."""
    if args.encoding_out == BLOCKS or not args.topic_out:
        return None
    return {
        name: encoder(stream.of, args.encoding_out, schema_id=schema_ids.get(name))
        for name, stream in pipeline.outputs.items()
    }
