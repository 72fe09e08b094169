"""Parquet files: one writer a file, what a crash leaves behind is taken over, columns by name."""

import os
import signal
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

import onetape as ot
from onetape.connect.parquet import ParquetSink
from onetape.records import OperatorError

CHILD = """
import sys
from pathlib import Path
import numpy as np
import onetape as ot
from onetape.connect.parquet import ParquetSink

@ot.record
class Far:
    ts_event_ns: ot.i64

with ParquetSink(Path(sys.argv[1]), {"far": Far}) as sink:
    sink.write("far", np.ones(int(sys.argv[2]), Far.dtype), [])
    print("begun", flush=True)
    sys.stdin.readline()
    sink.commit()
"""


@ot.record
class Far:
    ts_event_ns: ot.i64


@ot.record
class Named:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    symbol: ot.u32


class Child:
    """Another process that writes `far` into the folder and waits for a line before it commits."""

    def __init__(self, folder, rows):
        command = [sys.executable, "-c", CHILD, str(folder), str(rows)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self):
        assert self.process.stdout.readline() == "begun\n"
        return self.process

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def write(folder, rows, outputs=("far",)):
    with ParquetSink(folder, dict.fromkeys(outputs, Far)) as sink:
        for name in outputs:
            sink.write(name, np.zeros(rows, Far.dtype), [])
        sink.commit()


def rows_of(folder, name="far"):
    return pq.read_table(folder / f"{name}.parquet").num_rows


def test_two_processes_do_not_write_one_file(tmp_path):
    with Child(tmp_path, 3) as child:
        with pytest.raises(OperatorError, match="is being written by another run"):
            write(tmp_path, 5, ["other", "far"])
        assert os.listdir(tmp_path) == [".far.parquet.partial"]  # the child's
        write(tmp_path, 7, ["other"])  # another file of the folder is free
        child.communicate("go\n")
        assert child.returncode == 0

    assert (rows_of(tmp_path), rows_of(tmp_path, "other")) == (3, 7)
    assert sorted(os.listdir(tmp_path)) == ["far.parquet", "other.parquet"]


def test_what_a_crash_left_behind_is_taken_over(tmp_path):
    with Child(tmp_path, 300_000) as child:  # more than a row group: the file is begun
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert os.listdir(tmp_path) == [".far.parquet.partial"]

    write(tmp_path, 2)

    assert os.listdir(tmp_path) == ["far.parquet"]
    assert rows_of(tmp_path) == 2


def test_a_file_that_is_taken_twice_in_one_process_is_refused(tmp_path):
    with ParquetSink(tmp_path, {"far": Far}), pytest.raises(OperatorError, match="same output"):
        ParquetSink(tmp_path, {"far": Far})
    assert os.listdir(tmp_path) == []


def test_a_run_that_has_committed_leaves_the_next_one_alone(tmp_path):
    with ParquetSink(tmp_path, {"far": Far}) as first:
        first.commit()
        second = ParquetSink(tmp_path, {"far": Far})
    assert (tmp_path / ".far.parquet.partial").exists()  # the second's, which holds its lock
    with second:
        second.write("far", np.zeros(4, Far.dtype), [])
        second.commit()
    assert rows_of(tmp_path) == 4


def test_a_record_with_a_symbol_of_its_own_keeps_it(tmp_path):
    with ParquetSink(tmp_path, {"named": Named}) as sink:
        sink.write("named", np.array([(1, 0, 42)], Named.dtype), [0])
        sink.commit()

    table = pq.read_table(tmp_path / "named.parquet")
    assert sorted(table.column_names) == ["instrument_id", "symbol", "ts_event_ns"]
    assert table.column("symbol").to_pylist() == [42]
