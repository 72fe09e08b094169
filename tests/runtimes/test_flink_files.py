"""Blocks in files, and what the recipes for a cluster say about versions."""

import re
from pathlib import Path

import pytest
from tests.runtimes.test_worker import answered, day, plain, streams  # noqa: F401

from onetape.records import IntegrityError, PeerError
from onetape.runtimes import environments
from onetape.runtimes.flink import blocks_file, environment
from onetape.runtimes.flink.recorded import answer_of
from onetape.runtimes.standard import market_watch
from onetape.runtimes.worker import Worker

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy" / "flink"


def test_blocks_of_a_file_are_found_by_number(tmp_path, day):  # noqa: F811
    blocks = streams(day, events=512)[0]
    path = tmp_path / "input.blocks"
    assert blocks_file.write(path, iter(blocks)) == len(blocks)
    found = blocks_file.BlocksFile(path)
    assert [found[n] for n in range(len(found))] == blocks
    assert list(blocks_file.read([path])) == blocks
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="cut short"):
        list(blocks_file.read([path]))


def test_files_of_several_tasks_are_one_answer(tmp_path, day, plain):  # noqa: F811
    made = []
    for blocks in streams(day, shards=2, events=256).values():
        worker = Worker(market_watch())
        made += [one for block in blocks for one in worker.turn(block)]
    for n in range(3):  # as tasks that came and went would leave them
        blocks_file.write(tmp_path / f"part-{n}", made[2 - n :: 3])
        (tmp_path / f"part-{n}.index").unlink()
    assert answer_of(market_watch(), tmp_path).digests == plain.digests
    blocks_file.write(tmp_path / "part-9", made[5:6])
    (tmp_path / "part-9.index").unlink()
    with pytest.raises(PeerError, match="came twice"):
        answer_of(market_watch(), tmp_path)


def test_the_recipes_are_of_the_versions_that_are_tested():
    pinned = environments.requirements_of("flink").read_text()
    recipe = (DEPLOY / "Dockerfile").read_text()
    assert f"\napache-flink=={environment.FLINK} " in pinned
    assert f"\napache-flink-libraries=={environment.FLINK} " in pinned
    assert re.findall(r"^FROM flink:([\d.]+)-java17$", recipe, re.M) == [environment.FLINK]
    assert f"flink-python-{environment.FLINK}.jar" in recipe
    assert f"ARG CONNECTOR={environment.CONNECTOR}\n" in recipe
    assert f"ARG CONNECTOR_SHA256={environment.CONNECTOR_SHA256}\n" in recipe
    assert f"python{environment.PYTHON}" in recipe


def test_the_manifest_is_of_a_cluster_that_runs_our_jobs():
    yaml = pytest.importorskip("yaml", reason="no YAML: pip install pyyaml")
    told = yaml.safe_load((DEPLOY / "flinkdeployment.yaml").read_text())
    assert (told["apiVersion"], told["kind"]) == ("flink.apache.org/v1beta1", "FlinkDeployment")
    spec = told["spec"]
    assert spec["image"].endswith(f":{environment.FLINK}")
    assert spec["flinkVersion"] == "v" + "_".join(environment.FLINK.split(".")[:2])
    settings = spec["flinkConfiguration"]
    assert all(isinstance(value, str) for value in settings.values())
    assert settings["taskmanager.numberOfTaskSlots"] == "1"
    from onetape.runtimes.flink.cluster import PARENT_FIRST

    assert settings["classloader.parent-first-patterns.additional"] == PARENT_FIRST
    assert settings["high-availability.type"] == "kubernetes"


def test_clusters_that_begin_at_the_same_moment_have_ports_of_their_own():
    from onetape.runtimes.flink.cluster import REST_PORT, _rest_port

    found = [_rest_port() for _ in range(4)]
    try:
        ports = [port for _, port in found]
        assert len(set(ports)) == 4
        assert ports.count(REST_PORT) <= 1
    finally:
        for lock, _ in found:
            lock.close()
