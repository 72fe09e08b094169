"""The cluster bench on small days: answers are checked, processes counted, what is absent named."""

import os
import signal
import subprocess
import sys

import pytest
from bench import cluster, cluster_cost, cluster_here, cluster_ways
from bench.cluster_cpu import Meter
from tests import servers

from onetape.sim.exchange import write_file

BURN = """\
import os, time
child = os.fork()
if child: print(child, flush=True)
while time.process_time() < 0.4: pass
print("burnt", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    path = tmp_path_factory.mktemp("day") / "day.itch"
    write_file(path, seed=3, instruments=20, seconds=1.0, episodes=1)
    return path


def test_blocks_of_any_size_come_to_the_digests_of_the_file(day):
    direct, digests = cluster_here.direct(day, 1)
    large, of_large, worker = cluster_here.by_blocks(day, 4096, 1)
    small, of_small, _ = cluster_here.by_blocks(day, 256, 1)

    assert of_large == of_small == digests
    assert direct["events"] == large["events"] > 1_000
    assert small["bytes"]["bytes_in_per_event"] > large["bytes"]["bytes_in_per_event"] > 1
    assert cluster_here.saved(worker)["base_bytes"] > 1_000


def test_processor_time_of_children_is_counted_to_their_tree():
    process = subprocess.Popen([sys.executable, "-c", BURN], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with Meter(job=process.pid) as meter:
        child = int(process.stdout.readline())
        process.stdout.readline()
        process.stdout.readline()
        try:
            assert meter.cpu_s("job") >= 0.7  # twice 0.4 s
            assert meter.memory_bytes("job") > 1_000_000
        finally:
            os.kill(child, signal.SIGKILL)
            process.kill()
            process.wait()
            process.stdout.close()


def test_the_price_is_that_of_the_source_unless_another_is_named():
    theirs = cluster_cost.theirs()

    assert theirs == {"events_per_core_s": 1250, "usd_per_million": 0.0132}
    same = cluster_cost.usd_per_million(1250, cluster_cost.PRICE_USD)
    assert round(same, 4) == theirs["usd_per_million"]


def test_what_is_not_installed_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("ONETAPE_SPARK", str(tmp_path))

    result = cluster.run(messages=20_000, rounds=1, only="spark")

    assert result["answer_ok"]
    assert str(tmp_path) in result["left_out"]["spark"]


def test_a_wrong_answer_fails_the_bench(monkeypatch):
    wrong = cluster_ways.Way(lambda: "", lambda _days: {"digests": [{}, {}]})
    monkeypatch.setitem(cluster_ways.WAYS, "wrong", wrong)

    assert not cluster.run(messages=20_000, rounds=1, only="wrong")["answer_ok"]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(cluster_ways.WAYS))
def test_each_way_gives_the_answer_of_the_plain_run(name):
    way = cluster_ways.WAYS[name]
    if way.lacks():
        pytest.skip(way.lacks())

    result = cluster.run(messages=100_000, rounds=1, only=name)

    assert result["answer_ok"], result
    assert name in result["ways"] or "too short" in result["left_out"][name]


@pytest.mark.slow
def test_a_killed_task_manager_costs_no_row(monkeypatch):
    from bench import cluster_recovery

    if cluster_recovery.lacks():
        pytest.skip(cluster_recovery.lacks())
    one = {"taskmanager": cluster_recovery.KINDS["taskmanager"]}  # the rest: test_flink_kills.py
    monkeypatch.setattr(cluster_recovery, "KINDS", one)
    assert servers.missing("kafka") == ""
    result = cluster.run(messages=200_000, rounds=1, only="recovery", kills=1)

    assert result["answer_ok"], result
