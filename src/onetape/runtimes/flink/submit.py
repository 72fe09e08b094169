"""Give a job to a cluster: runs in Flink's environment, `python -m onetape.runtimes.flink.submit`.

    blocks of a topic ─► Keyed ═══ by key ═══► Turn (Python) ─► blocks to a topic
    numbers ─► blocks of a file ─► Keyed ═════► Turn (Python) ─► files

All but `Turn` (and reading a file) is Java. Each step has a name of its own (`uid`), by which a
savepoint finds it again. Reads a `Job` as JSON from stdin; prints {"job": its id}.
"""

import json
import sys
import threading
from dataclasses import asdict, dataclass, field
from typing import Any

from onetape.runtimes.flink.java_kafka import SHADED

MAX_PARALLELISM = 128  # of a job for ever: shards keep their place in its savepoints
KAFKA = f"{SHADED}.common.serialization"
TRANSACTION_MS = 900_000  # the most that a broker allows, if it is not told otherwise


@dataclass(frozen=True)
class Job:
    """What to run, and where.

    manifest  of the stream, if it is known: workers are warm before the first block
    python    for process mode, and the one that thread mode loads, where the tasks are
    kafka     brokers; topic, topic_out: of blocks. Else file, blocks (how many), folder
    consumer, producer   further properties of Kafka's clients, for TLS and SASL
    start     a savepoint or a checkpoint
    """

    address: str
    name: str
    code: str
    python: str
    mode: str = "thread"
    parallelism: int = 1
    checkpoint_ms: int = 1000
    codec: str = "lz4"
    manifest: dict[str, Any] | None = None
    kafka: str = ""
    topic: str = ""
    topic_out: str = ""
    consumer: dict[str, str] = field(default_factory=dict)
    producer: dict[str, str] = field(default_factory=dict)
    file: str = ""
    blocks: int = 0
    folder: str = ""
    start: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    warm: bool = True

    def text(self) -> str:
        return json.dumps(asdict(self))


def main() -> int:
    job = Job(**json.load(sys.stdin))
    warmed: list[BaseException] = []
    warming = threading.Thread(target=_warm, args=(job, warmed))
    if job.warm and job.manifest:
        warming.start()
    try:
        env = environment(job)
        build(job, env)
        if warming.ident is not None:
            warming.join()
        if warmed:
            raise warmed[0]
        client = env.execute_async(job.name)
    except Exception as why:
        print(f"{type(why).__module__}.{type(why).__name__}: {why}", file=sys.stderr)
        return 1
    print(json.dumps({"job": str(client.get_job_id())}), flush=True)
    return 0


def environment(job: Job) -> Any:
    """PyFlink's environment of the cluster at `address`, with the job's settings."""
    from pyflink.common import Configuration
    from pyflink.datastream import StreamExecutionEnvironment
    from pyflink.java_gateway import get_gateway
    from pyflink.util.java_utils import to_jarray

    settings = Configuration()
    for name, value in (_settings(job) | job.settings).items():
        settings.set_string(name, value)
    jvm = get_gateway().jvm
    restore = jvm.org.apache.flink.runtime.jobgraph.SavepointRestoreSettings
    host, _, port = job.address.rpartition(":")
    made = jvm.org.apache.flink.streaming.api.environment.RemoteStreamEnvironment(
        host,
        int(port),
        settings._j_configuration,
        to_jarray(jvm.String, []),
        to_jarray(jvm.java.net.URL, []),
        restore.forPath(job.start) if job.start else restore.none(),
    )
    env = StreamExecutionEnvironment(made)
    env.set_parallelism(job.parallelism)
    env.set_max_parallelism(MAX_PARALLELISM)
    return env


def build(job: Job, env: Any) -> None:
    """The job's graph, from its source to its sink."""
    from pyflink.common import Types
    from pyflink.datastream.data_stream import DataStream, KeyedStream
    from pyflink.java_gateway import get_gateway

    from onetape.runtimes.flink.operator import Turn

    jvm = get_gateway().jvm
    block, key = Types.PRIMITIVE_ARRAY(Types.BYTE()), Types.INT()
    blocks = _from_kafka(job, env, block) if job.kafka else _from_file(job, env, block)
    row = Types.ROW([key, block])
    keyed = blocks._j_data_stream.map(
        jvm.io.onetape.flink.Keyed(MAX_PARALLELISM), row.get_java_type_info()
    ).name("key of the shard")
    if job.file:
        keyed = keyed.setParallelism(1)
    by_key = keyed.keyBy(
        jvm.org.apache.flink.streaming.api.functions.python.KeyByKeySelector(),
        Types.ROW([key]).get_java_type_info(),
    )
    turn = Turn(job.code, job.codec, job.manifest)
    made = KeyedStream(by_key, row, DataStream(keyed)).process(turn, block)
    made.name("onetape").uid("onetape")
    sink = _to_kafka(job) if job.kafka else _to_files(job)
    made.sink_to(sink).name("blocks out").uid("blocks out")


def _settings(job: Job) -> dict[str, str]:
    return {
        "python.execution-mode": job.mode,
        "python.executable": job.python,
        "python.client.executable": sys.executable,
        # 64 blocks of 4096 events are some megabytes; a thousand, the default, would wait.
        "python.fn-execution.bundle.size": "64",
        "python.fn-execution.bundle.time": "10",
        "execution.buffer-timeout.interval": "1 ms",
        "execution.checkpointing.interval": f"{job.checkpoint_ms} ms",
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.min-pause": "0 ms",
        "execution.checkpointing.timeout": "5 min",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.incremental": "true",
        "execution.checkpointing.tolerable-failed-checkpoints": "3",
        "state.backend.type": "rocksdb",
        "pipeline.object-reuse": "true",
        # Some failures in a row end the job; one that runs again for some seconds is forgiven.
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "100 ms",
        "restart-strategy.exponential-delay.max-backoff": "5 s",
        "restart-strategy.exponential-delay.backoff-multiplier": "2",
        "restart-strategy.exponential-delay.reset-backoff-threshold": "5 s",
        "restart-strategy.exponential-delay.attempts-before-reset-backoff": "10",
    }


def _from_kafka(job: Job, env: Any, block: Any) -> Any:
    from py4j.java_gateway import get_java_class
    from pyflink.common import WatermarkStrategy
    from pyflink.datastream.connectors.kafka import KafkaOffsetsInitializer, KafkaSource
    from pyflink.java_gateway import get_gateway

    jvm = get_gateway().jvm
    readers = jvm.org.apache.flink.connector.kafka.source.reader.deserializer
    kind = get_java_class(_package(jvm, KAFKA).ByteArrayDeserializer)
    builder = (
        KafkaSource.builder()
        .set_bootstrap_servers(job.kafka)
        .set_topics(job.topic)
        .set_group_id(f"onetape-{job.name}")
        .set_starting_offsets(KafkaOffsetsInitializer.earliest())
    )
    own = {"isolation.level": "read_committed", "commit.offsets.on.checkpoint": "true"}
    for name, value in (own | job.consumer).items():
        builder.set_property(name, value)
    builder._j_builder.setDeserializer(readers.KafkaRecordDeserializationSchema.valueOnly(kind))
    watermarks = WatermarkStrategy.no_watermarks()  # event time is inside the blocks
    return env.from_source(builder.build(), watermarks, "blocks in", block).uid("blocks in")


def _to_kafka(job: Job) -> Any:
    from py4j.java_gateway import get_java_class
    from pyflink.datastream.connectors.base import DeliveryGuarantee
    from pyflink.datastream.connectors.kafka import KafkaSink
    from pyflink.java_gateway import get_gateway

    jvm = get_gateway().jvm
    kind = get_java_class(_package(jvm, KAFKA).ByteArraySerializer)
    schema = (
        jvm.org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchemaBuilder()
        .setTopic(job.topic_out)
        .setKafkaValueSerializer(kind)
        .setPartitioner(jvm.io.onetape.flink.ByShard())
        .build()
    )
    builder = (
        KafkaSink.builder()
        .set_bootstrap_servers(job.kafka)
        .set_delivery_guarantee(DeliveryGuarantee.EXACTLY_ONCE)
        .set_transactional_id_prefix(f"onetape-{job.name}-{job.topic_out}")
    )
    own = {
        "transaction.timeout.ms": str(TRANSACTION_MS),
        "max.request.size": str(16 << 20),
        "linger.ms": "5",
        "batch.size": str(256 << 10),
        "acks": "all",
    }
    for name, value in (own | job.producer).items():
        builder.set_property(name, value)
    builder._j_builder.setRecordSerializer(schema)
    return builder.build()


def _from_file(job: Job, env: Any, block: Any) -> Any:
    from pyflink.common import Types, WatermarkStrategy
    from pyflink.datastream.connectors.number_seq import NumberSequenceSource

    from onetape.runtimes.flink.operator import FromFile

    numbers = NumberSequenceSource(0, job.blocks - 1)
    watermarks = WatermarkStrategy.no_watermarks()
    source = env.from_source(numbers, watermarks, "numbers", Types.LONG())
    source.uid("numbers").set_parallelism(1)  # in order
    return source.process(FromFile(job.file), block).name("blocks in").set_parallelism(1)


def _to_files(job: Job) -> Any:
    from pathlib import Path

    from pyflink.datastream.connectors.base import Sink
    from pyflink.java_gateway import get_gateway

    jvm = get_gateway().jvm
    folder = jvm.org.apache.flink.core.fs.Path(Path(job.folder).as_uri())
    files = jvm.org.apache.flink.connector.file.sink.FileSink
    return Sink(files.forRowFormat(folder, jvm.io.onetape.flink.Framed()).build())


def _package(jvm: Any, path: str) -> Any:
    for name in path.split("."):
        jvm = getattr(jvm, name)
    return jvm


def _warm(job: Job, failed: list[BaseException]) -> None:
    """Compile for the tasks, and find out here what cannot be."""
    try:
        from onetape.runtimes.code import Code
        from onetape.runtimes.worker import Worker

        told = job.manifest or {}
        worker = Worker(Code(**json.loads(job.code)).pipeline())
        worker.warm(told["framing"], told["shards"], told["by"])
    except BaseException as why:
        failed.append(why)


if __name__ == "__main__":
    sys.exit(main())
