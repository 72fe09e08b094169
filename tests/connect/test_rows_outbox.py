"""Rows kept as they lie in memory: in order, whole with their padding, once; in a small file."""

import numpy as np
import pytest
from tests.connect.test_sinks import origins, wait_for

import onetape as ot
from onetape.connect.sinks import outbox
from onetape.connect.sinks.rows_outbox import RowsOutbox
from onetape.connect.sinks.taking import Output


@ot.record
class Padded:
    ts_event_ns: ot.i64
    side: ot.u8  # seven bytes of padding follow


def rows(first, count):
    raw = np.zeros(count * Padded.dtype.itemsize, np.uint8) + 0xAB  # the padding, too
    made = raw.view(Padded.dtype)
    made["ts_event_ns"] = np.arange(first, first + count)
    return made


class Store:
    """Takes what it is given, after failing as often as it was told to."""

    def __init__(self, failures=0):
        self.batches, self.failures = [], failures

    def deliver(self, batch):
        if self.failures:
            self.failures -= 1
            raise OSError("gone")
        self.batches.append((batch.first, batch.rows.tobytes(), batch.origins.copy()))
        return []

    def rows(self):
        return b"".join(data for _, data, _ in self.batches)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(outbox, "PAUSE_S", 0.01)


def opened(store, folder=None, durable=None):
    where = Output("far", Padded, None, {}, durable, folder)
    return RowsOutbox(where, store.deliver, "store", rows_at_once=7)


def test_rows_arrive_in_order_bit_for_bit(tmp_path):
    store = Store(failures=2)
    taker = opened(store, tmp_path)
    for at in range(0, 100, 10):
        taker.take(rows(at, 10), origins(at, 10))
    taker.finish()
    taker.close()

    assert store.rows() == rows(0, 100).tobytes()
    firsts = [first for first, _, _ in store.batches]
    sizes = [len(of) for _, _, of in store.batches]
    assert firsts == np.cumsum([0, *sizes[:-1]]).tolist() and max(sizes) <= 7
    assert np.concatenate([of for _, _, of in store.batches])["sequence"].tolist() == [*range(100)]
    assert taker.told() == "100 rows to store" and taker.failures == 2


def test_the_file_is_as_large_as_what_waits(tmp_path):
    taker = opened(Store(), tmp_path)
    for at in range(0, 1_000, 100):
        taker.take(rows(at, 100), origins(at, 100))
        wait_for(lambda: taker.waiting() == 0)
        wait_for(lambda: (tmp_path / "far-0.rows").stat().st_size == 0)
    taker.close()


def test_a_run_that_is_resumed_goes_on_behind_what_was_delivered(tmp_path):
    first, second = Store(), Store()
    taker = opened(first, tmp_path)
    taker.take(rows(0, 30), origins(0, 30))
    taker.finish()
    taker.close()
    taker = opened(second, tmp_path)  # all rows are made again, cut elsewhere
    for at in range(0, 60, 20):
        taker.take(rows(at, 20), origins(at, 20))
    taker.finish()
    taker.close()

    assert (first.rows() + second.rows()) == rows(0, 60).tobytes()
    assert second.batches[0][0] == 30


def test_rows_wait_until_they_are_durable(monkeypatch):
    monkeypatch.setattr(outbox, "LAST_TRY_S", 0.0)
    store, durable = Store(), [0]
    taker = opened(store, durable=lambda: durable[0])
    taker.take(rows(0, 5), origins(0, 5))
    assert not store.batches
    durable[0] = 5
    wait_for(lambda: taker.waiting() == 0)
    taker.take(rows(5, 5), origins(5, 5))
    taker.close()

    assert store.rows() == rows(0, 5).tobytes()
    assert "5 rows wait" in taker.told()
