"""The key index against a dict, through growth, deletion and hostile keys."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onetape.compiled import index as ix

small_keys = st.integers(0, 40)
hostile_keys = st.one_of(
    small_keys,
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 50).map(lambda k: k << 40),
    st.integers(0, 50).map(lambda k: k * 64),
)
steps = st.lists(st.tuples(st.sampled_from("aaadf"), hostile_keys), max_size=400)


@given(steps)
def test_behaves_like_a_dict(script):
    index, twin, next_slot = ix.new_index(1000), {}, 0
    for what, key in script:
        if what == "a" and key not in twin:
            ix.insert(index, key, next_slot)
            twin[key] = next_slot
            next_slot += 1
        elif what == "d":
            assert ix.remove(index, key) == twin.pop(key, -1)
        else:
            assert ix.find(index, key) == twin.get(key, -1)

        assert ix.count(index) == len(twin)
    for key, slot in twin.items():
        assert ix.find(index, key) == slot


def test_holds_as_many_keys_as_its_limit_and_refuses_the_next():
    index = ix.new_index(5000)
    keys = np.random.default_rng(3).permutation(5000) * 977

    for n, key in enumerate(keys):
        assert ix.find_or_add(index, key) == n

    assert ix.find_or_add(index, 1) == -1
    assert [ix.find(index, key) for key in keys] == list(range(5000))


def test_no_insertion_moves_more_than_a_few_entries():
    """After each insertion at most one table is being left, and its end is in sight."""
    index = ix.new_index(20000)

    for key in range(20000):
        ix.insert(index, key * 8, key)
        if index[ix.OLD_SIZE]:
            still_to_move = index[ix.OLD_SIZE] - index[ix.CURSOR]
            insertions_left = index[ix.SIZE] // 2 - index[ix.COUNT]
            assert still_to_move <= insertions_left * ix.MOVES_PER_INSERT
