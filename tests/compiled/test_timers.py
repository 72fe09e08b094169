"""The timer heap against a sorted list."""

from hypothesis import given
from hypothesis import strategies as st

from onetape.compiled import timers as tm

moves = st.lists(
    st.tuples(st.integers(0, 9), st.one_of(st.just(tm.NEVER), st.integers(-5, 30))), max_size=60
)


@given(moves, st.permutations(range(10)))
def test_fires_in_time_then_key_order(script, keys):
    timers, heap = tm.new_timers(10)
    twin = {}
    for slot, wake_ns in script:
        tm.set_timer(timers, heap, slot, keys[slot], wake_ns)
        twin[slot] = (wake_ns, keys[slot], slot)
        if wake_ns == tm.NEVER:
            del twin[slot]

        assert tm.next_wake(timers, heap) == min(twin.values(), default=(tm.NEVER,))[0]

    fired = []
    while tm.next_wake(timers, heap) != tm.NEVER:
        slot = tm.first(heap)
        fired.append(slot)
        tm.set_timer(timers, heap, slot, keys[slot], tm.NEVER)

    assert fired == [slot for _, _, slot in sorted(twin.values())]
