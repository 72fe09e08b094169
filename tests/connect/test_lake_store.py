"""A lake in an object store: a real S3 server holds it, and refuses the second of two commits."""

import threading
from datetime import date

import pytest
from tests.lake_tables import DAY, INPUT, Odd, both, by_shard, odd, read

from onetape.connect.lake import keep, store
from onetape.connect.lake.output_table import OutputTable, lake_table
from onetape.connect.lake.tape_table import TapeTable, TapeWriter
from onetape.records import OperatorError

pytest.importorskip("deltalake", reason='pip install "onetape[lake]"')


def test_a_tape_in_a_bucket_is_that_in_a_folder(bucket_url, monkeypatch):
    monkeypatch.setattr("onetape.connect.lake.tape_table.COMMIT_BYTES", 1000)
    assert not TapeWriter(bucket_url, DAY, INPUT).write(both()[:15])
    assert TapeWriter(bucket_url, DAY, INPUT).write(both())

    assert read(bucket_url) == by_shard(both())
    assert keep.names_of(bucket_url) == ["tape"]
    assert keep.compact(TapeTable(bucket_url).url)["files"] == 2
    assert read(bucket_url) == by_shard(both())


def test_of_two_commits_of_one_version_the_store_takes_one(bucket_url):
    """Conditional put: without it the second would write over the first, and rows were lost."""
    table = OutputTable(bucket_url, "odd", Odd)
    data = lake_table(Odd, odd(10), {}, DAY)
    writers, faults = 6, []

    def write(n):
        try:
            table_of = OutputTable(bucket_url, "odd", Odd)
            for k in range(4):
                table_of.append(f"run {n}", data, 10 * k)
        except Exception as why:
            faults.append(why)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(200)

    assert not faults
    found = store.open_table(table.url)
    assert found.to_pyarrow_table().num_rows == 10 * 4 * writers
    assert found.version() == 4 * writers


def test_what_the_store_says_is_said(bucket_url, monkeypatch):
    TapeWriter(bucket_url, date(2026, 1, 5), INPUT).write(both())
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")

    with pytest.raises(OperatorError, match=r"/tape cannot be opened: .*403"):
        TapeTable(bucket_url)
