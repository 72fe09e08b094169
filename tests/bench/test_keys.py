"""Very many keys: inside the memory that was stated, and each policy at the limit."""

import pytest
from bench import keys


def check(count):
    found = keys.run(keys=count, events=count)

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
