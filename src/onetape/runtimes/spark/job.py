"""The process in an engine's environment: one job, told as JSON on stdin, answered in JSON lines.

Spark and Sail differ in how a session is made, and in nothing else. What goes in and out are files
of blocks: see `adapter.py` for the columns.
"""

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

from onetape.runtimes.spark.adapter import MARKS, SCHEMA, Work, warm

BATCH_ROWS = 64  # blocks of some 100 KB each: engines think of rows of some 100 bytes
SPARK_SETTINGS = {
    "spark.sql.execution.arrow.maxRecordsPerBatch": BATCH_ROWS,
    "spark.sql.parquet.columnarReaderBatchSize": BATCH_ROWS,
    "spark.sql.adaptive.enabled": False,  # it would join partitions, which are shards
    "spark.sql.parquet.compression.codec": "uncompressed",  # blocks are compressed
    "spark.hadoop.parquet.enable.dictionary": False,
    "spark.hadoop.parquet.block.size": 16 << 20,
    "spark.driver.memory": "2g",
    "spark.ui.enabled": False,
    "spark.ui.showConsoleProgress": False,
}
SAIL_SETTINGS = {
    "SAIL_EXECUTION__BATCH_SIZE": BATCH_ROWS,
    "SAIL_PARQUET__MAX_ROW_GROUP_SIZE": 4 * BATCH_ROWS,
    "SAIL_PARQUET__COMPRESSION": "uncompressed",
    "SAIL_PARQUET__DICTIONARY_ENABLED": "false",
}
PYTHON_ERROR = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception|Interrupt): ")


def main() -> int:
    """Exit status 0 and a last line {"job_s": ...}, or 1 and {"error": ...}."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what engines print is no answer
    job = json.load(sys.stdin)
    try:
        began_s = time.perf_counter()
        warm(job["code"], job["manifest"])
        warm_s = time.perf_counter()
        with session(job["engine"], job["cluster"]) as spark:
            ready_s = time.perf_counter()
            print(
                json.dumps({"warm_s": warm_s - began_s, "start_s": ready_s - warm_s}), file=answers
            )
            run(spark, job)
            print(json.dumps({"job_s": time.perf_counter() - ready_s}), file=answers)
    except Exception as error:
        print(json.dumps({"error": said(error), "is_ours": MARKS[0] in str(error)}), file=answers)
        raise
    return 0


def run(spark: Any, job: dict[str, Any]) -> None:
    """Everything that a job does with an engine, on either of them."""
    pieces = {int(shard): count for shard, count in job["pieces"].items()}
    work = Work(job["code"], pieces, job["keeps_state"], job["progress"])
    shards = job["manifest"]["shards"]
    placed = spread(spark, blocks(spark, job["inputs"], job["base"]), shards)
    in_order = placed.sortWithinPartitions("shard", "ordinal").select("shard", "ordinal", "block")
    in_order.mapInArrow(work, SCHEMA).write.mode("overwrite").parquet(job["out"])


def blocks(spark: Any, inputs: dict[str, list[str]], base: list[str]) -> Any:
    """(shard, ordinal, block) of all files: those of each shard, and of the state to begin with."""
    from pyspark.sql import functions as F

    def read(paths: list[str], shard: Any) -> Any:
        ordinal = F.col("ordinal").cast("bigint").alias("ordinal")
        return spark.read.parquet(*paths).select(shard.cast("int").alias("shard"), ordinal, "block")

    frames = [read(paths, F.lit(int(shard))) for shard, paths in inputs.items() if paths]
    frames += [read(base, F.col("shard"))] if base else []
    return reduce(lambda a, b: a.union(b), frames)


def spread(spark: Any, frame: Any, shards: int) -> Any:
    """Each shard in a partition of its own.

    Engines place rows by a hash of a column, and of few numbers some fall together; so numbers that
    do not are looked for first, whatever the hash is.
    """
    from pyspark.sql import functions as F

    if shards == 1:
        return frame.repartition(1)
    tried = spark.range(32 * shards).repartition(shards, "id")
    found = tried.select("id", F.spark_partition_id().alias("at")).collect()
    numbers = list({row["at"]: row["id"] for row in found}.values())
    slots = [F.lit(numbers[n % len(numbers)]).cast("bigint") for n in range(shards)]
    slot = F.element_at(F.array(*slots), F.col("shard") + 1)
    return frame.withColumn("slot", slot).repartition(shards, "slot")


@contextmanager
def session(engine: str, cluster: str | None) -> Iterator[Any]:
    """A session of the engine: in this process and its children, or of a cluster that runs."""
    from pyspark.sql import SparkSession

    server = None
    if cluster is not None and cluster.startswith("sc://"):
        spark = SparkSession.builder.remote(cluster).getOrCreate()
        for name in ("spark.sql.execution.arrow.maxRecordsPerBatch", "spark.sql.adaptive.enabled"):
            spark.conf.set(name, str(SPARK_SETTINGS[name]).lower())
    elif engine == "sail":
        for name, value in SAIL_SETTINGS.items():
            os.environ.setdefault(name, str(value))
        from pysail.spark import SparkConnectServer

        server = SparkConnectServer("127.0.0.1", 0)
        server.start(background=True)
        _, port = server.listening_address
        spark = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").getOrCreate()
    else:
        os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
        if cluster is None:
            os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        builder = SparkSession.builder.appName("onetape").master(cluster or "local[*]")
        builder = builder.config("spark.sql.warehouse.dir", str(Path.cwd() / "warehouse"))
        for name, value in SPARK_SETTINGS.items():
            builder = builder.config(name, str(value).lower())
        spark = builder.getOrCreate()
    try:
        yield spark
    finally:
        spark.stop()
        if server is not None:
            server.stop()


def said(error: BaseException) -> str:
    """One line of what may be pages in two languages: what we said, or Python, or the engine."""
    text = str(error)
    begin, end = text.rfind(MARKS[0]), text.rfind(MARKS[1])
    if 0 <= begin < end:
        return text[begin + len(MARKS[0]) : end]
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    own = [line for line in lines if PYTHON_ERROR.match(line)]
    return f"{type(error).__name__}: {(own[-1] if own else lines[0])[:400]}"


if __name__ == "__main__":
    sys.exit(main())
