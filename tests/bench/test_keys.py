"""Very many keys: inside the memory that was stated, and each policy at the limit."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
RUN = "import json; from bench import keys; print(json.dumps(keys.run(keys={0}, events={0})))"


def check(count):
    pytest.importorskip("lmdb")
    # A process of its own: one that has held memory before does not grow by what is measured.
    argv = [sys.executable, "-c", RUN.format(count)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=900, check=True)
    found = json.loads(done.stdout.splitlines()[-1])

    assert found["answer_ok"]
    assert 24 < found["resident_bytes_per_key"] <= found["reserved_bytes_per_key"] + 10
    went = {
        kind: full["dropped"] + full["evicted"] + full["forgotten"]
        for kind, full in found["full"].items()
    }
    over = count - count // 10
    assert went == {"drop_new": over, "evict_oldest": over, "ttl": count - count // 20}


def test_some_keys():
    check(200_000)


@pytest.mark.slow
def test_ten_million_keys():
    check(10_000_000)
