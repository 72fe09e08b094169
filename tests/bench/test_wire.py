"""The wire bench on a small run: that every alert comes back and is told from a wrong one."""

import numpy as np
import pytest
from bench import wire, wire_flow

from onetape.engine.frames import frames_of
from onetape.records.market import OPEN
from onetape.runtimes import batch
from onetape.runtimes.standard import pipeline

BY_FEED = {"after_loss": 0, "not_held": 0, "far": 0}
NAMES = {"wire_ns_p50", "wire_ns_p90", "wire_ns_p99", "echo_ns_p50", "echo_ns_p90", "echo_ns_p99"}


@pytest.mark.slow
def test_every_planted_alert_comes_back_from_the_node():
    result = wire.run(rates=(2_000,), wait="sleep", seconds=0.5, rounds=1)

    assert result["answer_ok"]
    assert set(result) >= NAMES | {"service_ns_p99", "offered_per_s"}
    (row,) = result["rates"]
    assert row["alerts"] > 30
    assert (row["lost_alerts"], row["lost_messages"], row["dropped_packets"]) == (0, 0, 0)
    assert all(row[name] > 0 for name in NAMES)


@pytest.mark.parametrize("goes_on", [False, True])
def test_what_is_planted_is_what_the_pipeline_finds(goes_on):
    """The plain reading of the rule, against the operator, at a rate where bursts meet."""
    load = wire_flow.Load.of(400_000)
    flows = [wire_flow.make(load, [[(0.2, 1.0), (0.1, 2.0)]])]
    if goes_on:
        flows.append(wire_flow.make(load, [[(0.2, 1.0)]], seed=2, after=flows[0].market))
    frames, planted, found = [], [], []
    start_ns = 10**12
    for flow in flows:
        for n, (first, until) in enumerate(flow.slices):
            start_ns += 10**12
            wire_flow.stamp(flow.data, flow.begin, first, until, flow.due_ns, start_ns)
            for k in range(first, until):
                frames.append((start_ns, flow.data[flow.begin[k] : flow.begin[k + 1]].tobytes()))
            planted += (start_ns + flow.due_ns[flow.alerts[n]]).tolist()

    def take(name, rows, origins):
        if name == "alert":
            found.extend(rows["ts_event_ns"][rows["state"] == OPEN].tolist())

    engine = batch.make_engine(pipeline, {"itch": "moldudp64"})
    result = batch.run(engine, frames_of(frames), take)

    assert result.counts.events == len(frames) * load.packet_messages
    assert engine.feed_state("itch")["gap_messages"] == 0
    assert len(flows[0].alerts[0]) == 0
    assert found == planted
    assert len(found) > 100


def seen_of(due_ns, unsent=0):
    return [
        {"packets": 5, "planted_ns": np.array([5, 9]), "due_ns": np.array(due_ns), "unsent": unsent}
    ]


def test_an_alert_that_is_missing_or_late_in_naming_its_cause_is_noticed():
    load = wire_flow.Load(1_000, 2, 16)
    node = {"messages": 10, "opened": 2, "kernel_drops": 0} | BY_FEED

    assert wire.accounts(load, node, seen_of([9, 5]))["answer_ok"]
    assert not wire.accounts(load, node, seen_of([5]))["answer_ok"]
    assert not wire.accounts(load, node, seen_of([5, 10]))["answer_ok"]
    assert not wire.accounts(load, node | {"opened": 3}, seen_of([5, 9]))["answer_ok"]


def test_a_loss_must_be_counted_by_who_lost_it():
    load = wire_flow.Load(1_000, 2, 16)
    node = {"messages": 6, "opened": 1, "kernel_drops": 1} | BY_FEED

    assert wire.accounts(load, node, seen_of([5], unsent=1))["answer_ok"]
    assert wire.accounts(load, node, seen_of([5], unsent=1))["lost_messages"] == 4
    assert not wire.accounts(load, node, seen_of([5]))["answer_ok"]
    assert not wire.accounts(load, node, seen_of([5], unsent=2))["answer_ok"]
    assert wire.accounts(load, node | {"after_loss": 2}, seen_of([5]))["answer_ok"]
