"""The order of slots against an OrderedDict."""

from collections import OrderedDict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onetape.compiled import recency

SLOTS = 6
steps = st.lists(
    st.tuples(st.sampled_from(["see", "see", "see", "leave"]), st.integers(0, SLOTS - 1)),
    max_size=60,
)


@given(steps, st.integers(0, 3))
def test_behaves_like_an_ordered_dict(script, step_ns):
    links, twin, now_ns = recency.new_links(SLOTS), OrderedDict(), 0
    for what, slot in script:
        now_ns += step_ns
        if what == "see":
            recency.see(links, slot, now_ns)
            twin[slot] = now_ns
            twin.move_to_end(slot)
        elif slot in twin:
            recency.leave(links, slot)
            del twin[slot]

        assert recency.oldest(links) == next(iter(twin), -1)
        ranks = np.full(SLOTS, -1)
        recency.ranks(links, ranks)
        assert [ranks[s] for s in twin] == list(range(len(twin)))
        for s, seen_ns in twin.items():
            assert recency.is_over(links, s, seen_ns + 5, 5)
            assert not recency.is_over(links, s, seen_ns + 4, 5)


def test_before_time_is_known_nothing_can_have_been_unseen():
    links = recency.new_links(2)
    recency.see(links, 0, -(2**63))
    recency.begin(links, 1_000)
    recency.begin(links, 2_000)
    recency.see(links, 1, 1_000)

    assert not recency.is_over(links, 0, 1_009, 10)
    assert recency.is_over(links, 0, 1_010, 10)
