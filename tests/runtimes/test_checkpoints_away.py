"""A node whose machine is lost goes on from an object store, to the answer of one that was not."""

import json
import time

import numpy as np
import pytest
from tests.runtimes import swapping
from tests.runtimes.counted import Number, pipeline
from tests.runtimes.swapping import ADDS, BY_NAME, WIDER, Kept, stored, version
from tests.s3_server import S3Server

from onetape.cli import main
from onetape.engine.digest import digests_of, state_digest
from onetape.records import OperatorError
from onetape.runtimes.edge import uploader
from onetape.runtimes.edge.live import checkpoints_text
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.edge.swap import swap
from onetape.tape import checkpoint

DEADLINE_S = 60
BLOCK = 500


def push(node, digests, numbers):
    for n in numbers:
        block = np.zeros(BLOCK, Number.dtype)
        block["ts_event_ns"] = np.arange(n * BLOCK, (n + 1) * BLOCK)
        block["key"] = block["ts_event_ns"] % 7
        while not node.push(block.tobytes()):
            take(node.drain(), digests)
    take(node.drain_until_idle(), digests)


def take(blocks, digests):
    for name, rows, origins in blocks:
        digests[name].update(rows, origins)


def wait_for(condition):
    end_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def server(tmp_path, monkeypatch):
    server = S3Server(tmp_path / "s3")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(uploader, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(uploader, "LONGEST_PAUSE_S", 0.2)
    yield server
    server.stop()


def test_a_store_that_is_away_stops_nothing_and_a_lost_machine_goes_on_from_it(
    server, tmp_path, capsys
):
    url = "s3://bucket/desk1"
    with EdgeNode(pipeline(), tmp_path / "whole") as node:
        whole = digests_of(node.plan)
        push(node, whole, range(40))
        take(node.stop(), whole)
        whole_state = state_digest(node.engine)

    with EdgeNode(
        pipeline(), tmp_path / "lost", checkpoint_every_s=0.05, checkpoints=url
    ) as node:  # nobody listens at the server's port
        lost = digests_of(node.plan)
        push(node, lost, range(10))
        wait_for(lambda: node.statistics()["uploads_failed"] >= 2)
        assert node.statistics()["uploaded_offset"] == -1
        assert "uploads of checkpoints failed, the last: s3://bucket/desk1" in node.troubles()[0]
        assert "the newest there: none" in node.troubles()[0]
        assert "MB written; none uploaded, " in checkpoints_text(node.statistics())
        server.start()
        push(node, lost, range(10, 20))
        node.tape.sync()
        wait_for(lambda: node.statistics()["uploaded_offset"] == node.next_offset())
        assert node.troubles() == []
        assert "; uploaded up to frame " in checkpoints_text(node.statistics())
        push(node, lost, range(20, 25))  # what comes after is lost with the machine
        list(node.stop())

    assert main(["restore", url, str(tmp_path / "again"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    again = EdgeNode(pipeline(), tmp_path / "again", resume=True, checkpoint_every_s=0.05)
    digests = digests_of(again.plan)
    assert again.recover(digests) == []
    done = int(again.engine.run["data_frames"][0])
    assert told["offset"] == checkpoint.offsets(tmp_path / "again")[0]
    assert 20 <= done <= 25
    with again:
        push(again, digests, range(done, 40))
        again.tape.sync()
        wait_for(lambda: checkpoint.offsets(tmp_path / "again")[-1] == again.next_offset())
        take(again.stop(), digests)

    assert digests["out"].hexdigest() == whole["out"].hexdigest()
    assert state_digest(again.engine) == whole_state
    assert main(["checkpoints", str(tmp_path / "again"), "--verify"]) == 0
    assert main(["tape", "verify", str(tmp_path / "again")]) == 0


def test_a_run_ends_though_the_store_never_comes(server, tmp_path):
    with EdgeNode(
        pipeline(), tmp_path / "t", checkpoint_every_s=0.05, checkpoints="s3://bucket/x"
    ) as node:
        digests = digests_of(node.plan)
        push(node, digests, range(3))
        wait_for(lambda: node.statistics()["uploads_failed"] >= 1)
        list(node.stop())

    assert checkpoint.offsets(tmp_path / "t")
    assert node.statistics()["checkpoints_failed"] == 0


def test_an_address_that_is_none_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(OperatorError, match=r"expected s3://BUCKET/PREFIX"):
        EdgeNode(pipeline(), tmp_path / "t", checkpoint_every_s=1, checkpoints="bucket/x")

    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("scheme", ["s3", "file"])
def test_a_tape_that_versions_took_over_on_goes_on_from_the_store(scheme, tmp_path, request):
    url = f"file://{tmp_path}/store"
    if scheme == "s3":
        request.getfixturevalue("server").start()
        url = "s3://bucket/swapped"
    first = version(tmp_path / "a", ADDS.format(times=1))
    with EdgeNode(first, tmp_path / "t", checkpoint_every_s=0.05, checkpoints=url) as node:
        kept = Kept(node.plan)
        node.when_swapped.append(kept.follow)
        kept_push(node, kept, 0)
        swap(node, stored(node, tmp_path / "b", WIDER.format(migrate=BY_NAME)))
        (node.folder / "versions" / "notes.json").write_text("{}")
        kept_push(node, kept, swapping.BLOCK)
        node.tape.sync()
        wait_for(lambda: node.statistics()["uploaded_offset"] == node.next_offset())
        kept.take(node.stop())
        state = state_digest(node.engine)

    assert main(["restore", url, str(tmp_path / "again"), "--json"]) == 0
    names = sorted(path.name for path in (tmp_path / "again" / "versions").iterdir())
    assert names == sorted(f"{name}.json" for name in (node.versions.first, node.version))
    for text in (WIDER.format(migrate=BY_NAME), ADDS.format(times=1)):
        again = EdgeNode(version(tmp_path / "b", text), tmp_path / "again", resume=True)
        said = again.recover(digests_of(again.plan))
        assert all("the tape goes on with version" in line for line in said)
        assert again.version == node.version
        assert state_digest(again.engine) == state
        with again:
            list(again.stop())


def kept_push(node, kept, first):
    assert node.push(swapping.numbers(first))
    kept.take(node.drain_until_idle())
