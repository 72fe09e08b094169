"""Pinning and priority, each on a thread of its own so that the others keep theirs."""

import os
import threading

import pytest

from onetape.native.threads import node_of_cpu, pin_thread, set_realtime
from onetape.records import OperatorError


def on_a_thread(do):
    """What `do` returned, or the OperatorError it raised."""
    found = []

    def work():
        try:
            found.append(do())
        except OperatorError as why:
            found.append(why)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    return found[0]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no pinning on this platform")
def test_a_thread_is_pinned_and_the_others_are_not():
    before = os.sched_getaffinity(0)
    cpu = max(before)

    assert on_a_thread(lambda: (pin_thread(cpu), os.sched_getaffinity(0))[1]) == {cpu}
    assert os.sched_getaffinity(0) == before
    assert "this process may use" in str(on_a_thread(lambda: pin_thread(1 << 14)))


@pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="no SCHED_FIFO here")
def test_a_thread_becomes_real_time_or_is_told_what_it_takes():
    def ask():
        set_realtime(1)
        return os.sched_getscheduler(0), os.sched_getparam(0).sched_priority

    found = on_a_thread(ask)

    if isinstance(found, OperatorError):
        assert "CAP_SYS_NICE" in str(found) and "ulimit -r" in str(found)
    else:
        assert found == (os.SCHED_FIFO, 1)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    assert "expected 1 (lowest) to 99" in str(on_a_thread(lambda: set_realtime(100)))


def test_the_node_of_a_processor_is_known_or_none():
    assert node_of_cpu(0) in {None, *range(64)}
    assert node_of_cpu(1 << 14) is None
