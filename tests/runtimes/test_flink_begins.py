"""Where a job begins, and nowhere else: its own checkpoints, a topic without rows."""

import os
import time
from types import SimpleNamespace

import pytest
from tests.connect.kafka_topics import made

from onetape.connect.kafka.publisher import Publisher, Record
from onetape.connect.kafka.settings import settings
from onetape.records import OperatorError
from onetape.runtimes.flink.cluster import LocalCluster
from onetape.runtimes.flink.streams import make_output


@pytest.fixture
def environment():
    """What a cluster that is not started asks of one."""
    return SimpleNamespace(
        variables=dict, lib=lambda folder: folder, home=None, python="python", folder=None
    )


def checkpoint(cluster, job, number, age_s):
    path = cluster.checkpoints / job / f"chk-{number}" / "_metadata"
    path.parent.mkdir(parents=True)
    path.touch()
    then = time.time() - age_s
    os.utime(path, (then, then))
    return path.parent


def test_a_job_goes_on_from_its_own_checkpoint_not_from_one_of_an_earlier_run(
    environment, tmp_path
):
    cluster = LocalCluster(environment, tmp_path, slots=1)
    try:
        checkpoint(cluster, "before", 9, age_s=1)
        assert cluster.newest_checkpoint(["now"]) is None

        first = checkpoint(cluster, "now", 1, age_s=60)
        assert cluster.newest_checkpoint(["now"]) == first
        later = checkpoint(cluster, "then", 1, age_s=30)
        assert cluster.newest_checkpoint(["now", "then"]) == later
    finally:
        cluster.stop()


def test_a_folder_has_one_cluster_at_a_time(environment, tmp_path):
    first = LocalCluster(environment, tmp_path, slots=1)
    try:
        with pytest.raises(OperatorError, match="another Flink cluster of this machine works in"):
            LocalCluster(environment, tmp_path, slots=1)
    finally:
        first.stop()
    LocalCluster(environment, tmp_path, slots=1).stop()


def test_a_job_does_not_begin_anew_into_a_topic_that_has_rows(kafka):
    known, out = settings(kafka.address), made(kafka, "rows", 2)
    make_output(known, out, None, begins=True)
    with Publisher(known) as publisher:
        publisher.put(Record(out, b"a row", 1))

    with pytest.raises(OperatorError, match=f"topic {out} holds records, .*--from SAVEPOINT"):
        make_output(known, out, None, begins=True)
    make_output(known, out, None, begins=False)
