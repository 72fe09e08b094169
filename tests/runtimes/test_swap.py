"""A hot swap: nothing lost or doubled, state goes on by rule, a replay switches where it did."""

import itertools
import socket
import sys
import threading

import pytest
from tests.runtimes.swapping import (
    ADDS,
    BLOCK,
    BY_NAME,
    BY_RULE,
    WIDER,
    Kept,
    numbers,
    replayed,
    stored,
    version,
)

from onetape.codecs.rows_datagram import ROWS, read_datagram
from onetape.engine.digest import state_digest
from onetape.records import OperatorError
from onetape.runtimes.delivery import Delivery
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.edge.swap import swap


@pytest.fixture
def live(tmp_path):
    """(node, what it gave, push) of a node that runs ADDS with times=1."""
    pipeline = version(tmp_path / "a", ADDS.format(times=1))
    with EdgeNode(pipeline, tmp_path / "tape") as node:
        kept = Kept(node.plan)
        node.when_swapped.append(kept.follow)
        yield node, kept, Push(node, kept)


class Push:
    def __init__(self, node, kept):
        self.node, self.kept, self.count = node, kept, 0

    def __call__(self, blocks=1):
        for _ in range(blocks):
            while not self.node.push(numbers(self.count)):
                self.kept.take(self.node.drain())
            self.count += BLOCK
        self.kept.take(self.node.drain_until_idle())

    def end(self):
        """(digests, state) at the end."""
        self.kept.take(self.node.stop())
        self.node.tape.sync()
        return self.kept.hexes(), state_digest(self.node.engine)


def sums(kept):
    """The last sum of each key."""
    return {key: value for _, key, value in kept.rows["sum"]}


def test_another_step_goes_on_with_the_same_sums(live, tmp_path):
    node, kept, push = live
    push()
    swapped = swap(node, stored(node, tmp_path / "b", ADDS.format(times=100)))
    push()
    back = swap(node, swapped.before)
    push()
    digests, state = push.end()

    assert swapped.steps == {"numbers": "is kept", "Adds": "is kept"} or "Adds" in swapped.steps
    assert len(kept.rows["sum"]) == 3 * BLOCK
    assert sums(kept) == {key: 50 * 1 + 50 * 100 + 50 * 1 for key in range(10)}
    again, state_again, ran = replayed(version(tmp_path / "a", ADDS.format(times=1)), node.folder)
    assert (again.hexes(), state_again) == (digests, state)
    assert again.rows == kept.rows
    assert ran.swaps == 2
    assert back.version == node.version


def test_a_replay_needs_only_the_tape_and_one_of_its_versions(live, tmp_path):
    node, _, push = live
    push()
    name = stored(node, tmp_path / "b", ADDS.format(times=7))
    swap(node, name)
    push()
    digests, state = push.end()
    for path in tmp_path.glob("?/pipeline.py"):
        path.unlink()

    last = version(tmp_path / "c", ADDS.format(times=7))
    again, state_again, _ = replayed(last, node.folder)
    assert (again.hexes(), state_again) == (digests, state)


@pytest.mark.parametrize("rule", [BY_NAME, BY_RULE])
def test_state_is_migrated_by_the_declared_rule_and_back(live, tmp_path, rule):
    node, kept, push = live
    push()
    swapped = swap(node, stored(node, tmp_path / "b", WIDER.format(migrate=rule)))
    wider = sums(kept)
    push()
    later = {k: v for k, v in sums(kept).items() if k >= 0}
    swap(node, swapped.before, back=True)
    push()
    digests, state = push.end()

    assert swapped.steps["Adds"] == "is migrated, key by key"
    assert wider == dict.fromkeys(range(10), 50)
    begun = 500 if rule == BY_RULE else 50
    assert later == dict.fromkeys(range(10), begun + 150)
    left = (650 // 10 + 50 + 50) if rule == BY_RULE else 200
    assert {k: v for k, v in sums(kept).items() if k >= 0} == dict.fromkeys(range(10), left + 50)
    again, state_again, _ = replayed(version(tmp_path / "a", ADDS.format(times=1)), node.folder)
    assert (again.hexes(), state_again) == (digests, state)
    assert again.rows == kept.rows


def test_what_has_no_rule_is_refused_and_nothing_changes(live, tmp_path):
    node, kept, push = live
    push()
    wider = stored(node, tmp_path / "b", WIDER.format(migrate=""))
    with pytest.raises(OperatorError, match="Adds: it has wake_ns: int64, count: int64; declare"):
        swap(node, wider)
    renamed = stored(node, tmp_path / "c", ADDS.format(times=1).replace("Adds", "Sums"))
    with pytest.raises(OperatorError, match="state of Adds: it is not in the new version"):
        swap(node, renamed)
    other = ADDS.format(times=1).replace('"numbers"', '"figures"')
    with pytest.raises(OperatorError, match="a tape keeps its sources"):
        swap(node, stored(node, tmp_path / "d", other))
    push()
    digests, state = push.end()

    assert sums(kept) == dict.fromkeys(range(10), 100)
    again, state_again, ran = replayed(version(tmp_path / "a", ADDS.format(times=1)), node.folder)
    assert (again.hexes(), state_again, ran.swaps) == (digests, state, 0)


def test_state_may_be_let_go(live, tmp_path):
    node, kept, push = live
    push()
    swapped = swap(node, stored(node, tmp_path / "b", WIDER.format(migrate="")), drop_state=True)
    push()
    digests, state = push.end()

    assert swapped.steps["Adds"].startswith("is dropped: it has wake_ns")
    assert {k: v for k, v in sums(kept).items() if k >= 0} == dict.fromkeys(range(10), 150)
    again, state_again, _ = replayed(version(tmp_path / "a", ADDS.format(times=1)), node.folder)
    assert (again.hexes(), state_again) == (digests, state)


def test_swaps_while_events_come_lose_and_double_none(live, tmp_path):
    node, kept, push = live
    push()
    names = [
        stored(node, tmp_path / "b", WIDER.format(migrate=BY_NAME)),
        node.version,
        stored(node, tmp_path / "c", ADDS.format(times=5)),
        node.version,
    ]
    made = []

    def swaps():
        for name, back in zip(names * 3, (False, True, False, False) * 3):
            made.append(swap(node, name, back=back))

    thread = threading.Thread(target=swaps)
    thread.start()
    while thread.is_alive():
        push()
    thread.join()
    push()
    digests, state = push.end()

    again, state_again, ran = replayed(version(tmp_path / "a", ADDS.format(times=1)), node.folder)
    assert (again.hexes(), state_again) == (digests, state)
    assert again.rows == kept.rows
    events = [ts for ts, key, _ in kept.rows["sum"] if key >= 0]
    assert events == list(range(1_000_000, 1_000_000 + push.count))
    assert ran.swaps == len({one.offset for one in made}) == 12
    assert all(one.pause_ns > 0 for one in made)


def test_rows_that_leave_as_datagrams_go_on_with_their_numbers(tmp_path):
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rx,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tx,
    ):
        rx.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        rx.bind(("127.0.0.1", 0))
        rx.settimeout(20)
        tx.connect(rx.getsockname())
        pipeline = version(tmp_path / "a", ADDS.format(times=1))
        with EdgeNode(pipeline, tmp_path / "tape", sinks={"sum": tx.fileno()}) as node:
            push = Push(node, Kept(node.plan))
            push()
            named = ADDS.format(times=2).replace("Pipeline(sum", "Pipeline(more=Adds(numbers), sum")
            with pytest.raises(OperatorError, match="is sent as datagrams under number 0"):
                swap(node, stored(node, tmp_path / "b", named))
            swap(node, stored(node, tmp_path / "c", ADDS.format(times=2)))
            push()
            push.end()
            of = pipeline.outputs["sum"].of
            first_rows, drivers = [], set()
            while sum(count for _, count in first_rows) < 2 * BLOCK:
                header, _ = read_datagram(rx.recv(65536), [of])
                if header.kind == ROWS:
                    first_rows.append((header.first_row, header.count))
                    drivers.add(header.driver)
    assert all(a + n == b for (a, n), (b, _) in itertools.pairwise(first_rows))
    assert first_rows[0][0] == 0
    assert len(drivers) == 2


def test_an_output_that_comes_has_its_file_and_one_that_goes_keeps_it(tmp_path):
    more = ADDS.format(times=2).replace("Pipeline(sum=", "Pipeline(more=Adds(numbers), other=")
    old = version(tmp_path / "a", ADDS.format(times=1))
    with Delivery(old, out=tmp_path / "out") as delivery:
        delivery.follow(version(tmp_path / "b", more))
        delivery.finish()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "sum.parquet", "more.parquet", "other.parquet",
    }  # fmt: skip


def test_modules_beside_the_file_are_part_of_a_version(live, tmp_path):
    node, kept, push = live
    push()
    with_step = ADDS.format(times=1).replace("\n", "\nfrom swapped_step import STEP\n", 1)
    with_step = with_step.replace("self.sum += times", "self.sum += STEP")
    names = []
    for folder, step in (("b", 10), ("c", 1000)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "swapped_step.py").write_text(f"STEP = {step}\n")
        sys.modules.pop("swapped_step", None)
        names.append(stored(node, tmp_path / folder, with_step))
        (tmp_path / folder / "swapped_step.py").unlink()
    for name in names:
        swap(node, name)
        push()
    digests, state = push.end()

    assert sums(kept) == dict.fromkeys(range(10), 50 + 500 + 50_000)
    again, state_again, _ = replayed(version(tmp_path / "a", ADDS.format(times=1)), node.folder)
    assert (again.hexes(), state_again) == (digests, state)


def test_a_rule_that_raises_between_the_frames_halts_the_node_and_says_so(tmp_path):
    rule = "\n    def migrate(self, old):\n        self.sum = old.sum // (old.sum - old.sum)\n"
    pipeline = version(tmp_path / "a", ADDS.format(times=1))
    with EdgeNode(pipeline, tmp_path / "tape") as node:
        push = Push(node, Kept(node.plan))
        push()
        with pytest.raises(OperatorError, match="could not be taken over"):
            swap(node, stored(node, tmp_path / "b", WIDER.format(migrate=rule)))
        with pytest.raises(OperatorError, match="migrate raised ZeroDivisionError"):
            list(node.drain())
        assert len(push.kept.rows["sum"]) == BLOCK
