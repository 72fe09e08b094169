"""Any split of the input gives the same answer, in any mode, and it is the naive engine's answer.

Random graphs of operators over random input out of time order. The input is cut at random into
frames and into runs of frames; the output rings are so small that the driver stops at almost every
event and is called again. Rows, their origins, the digests and the state must all be equal. A
failure is repeated by its seed, which is in the test's name.
"""

import random

import pytest
from tests.engine.graphs import cut, random_pipeline, random_steps, smallest_ring
from tests.engine.running import Reusable, frames, refused
from tests.naive import engine as naive

from onetape.compiled import mode
from onetape.compiled.index import held_slots
from onetape.compiled.recency import is_over
from onetape.engine.graph import OperatorNode
from onetape.engine.window import Window

COMPILED = (79, 253, 309, 357, 554, 582)  # chosen so that together they have every part
COMPILED_SLOW = range(60, 84)
INTERPRETED = range(100, 140)
INTERPRETED_SLOW = range(140, 640)


def answers(ran):
    counts = {n: v for n, v in vars(ran.counts).items() if "frames" not in n}
    return ran.rows, ran.origins, counts, ran.digests, ran.state


def run_split(engine, rng, steps, together):
    pieces, feeds = cut(rng, steps, together)
    return engine.run(frames(pieces), feeds=feeds)


def check(seed, events, splits):
    """All splits agree in the current mode, and with the twin; returns the answers."""
    rng = random.Random(seed)
    pipeline = random_pipeline(seed)
    steps = random_steps(seed, pipeline, events)
    roomy = Reusable(pipeline)
    tight = Reusable(pipeline, output_rows=smallest_ring(pipeline))

    whole = roomy.run(frames(cut(rng, steps, 1)[0]))
    for together in splits:
        for engine in (roomy, tight):
            assert answers(run_split(engine, rng, steps, together)) == answers(whole)

    twin = naive.run(pipeline, steps)
    assert whole.rows == twin.rows
    assert whole.origins == twin.origins
    assert refused(whole) == refused(twin)
    assert (whole.counts.rows_dropped, whole.counts.keys_evicted) == (twin.dropped, twin.evicted)
    assert whole.counts.keys_forgotten <= twin.forgotten
    assert states(whole.engine) == twin.states
    return answers(whole)


def states(engine):
    """{node: {key: {field: value}}} of the operators with a state a key, as the twin keeps it."""
    found = {}
    for number, node in enumerate(engine.plan.pipeline.nodes):
        if isinstance(node, OperatorNode) and node.spec.state is not None:
            keys = engine.arrays[f"n{number}_keys"]
            rows = engine.arrays[f"n{number}_state"]
            slots = held_slots(engine.arrays[f"n{number}_index"]).tolist()
            if node.keeping.ttl_ns:  # what is due to be forgotten may still lie there
                links, now_ns = engine.arrays[f"n{number}_links"], int(engine.run[0]["reached_ns"])
                slots = [s for s in slots if not is_over(links, s, now_ns, node.keeping.ttl_ns)]
            names = node.spec.state.names
            held = {
                int(keys[slot]): {name: rows[name][slot].tolist() for name in names}
                for slot in slots
            }
            if held:
                found[number] = held
    return found


def check_compiled(seed):
    compiled = check(seed, events=600, splits=(0, 0.5, 0.95))
    with mode.running("interpreted"):
        interpreted = check(seed, events=600, splits=())

    assert compiled == interpreted


@pytest.mark.parametrize("seed", COMPILED)
def test_compiled(seed):
    check_compiled(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", COMPILED_SLOW)
def test_compiled_more(seed):
    check_compiled(seed)


@pytest.mark.parametrize("seed", INTERPRETED)
def test_interpreted(seed):
    with mode.running("interpreted"):
        check(seed, events=60, splits=(0.5,))


@pytest.mark.slow
@pytest.mark.parametrize("seed", INTERPRETED_SLOW)
def test_interpreted_more(seed):
    with mode.running("interpreted"):
        check(seed, events=150, splits=(0.7,))


def test_the_compiled_graphs_have_every_part():
    seen, hows, triggers, sources, late, ahead = set(), set(), set(), set(), 0, 0
    forgotten, evicted, dropped = 0, 0, 0
    for seed in COMPILED:
        pipeline = random_pipeline(seed)
        made = naive.run(pipeline, random_steps(seed, pipeline, 300))
        assert min(map(len, made.rows.values())) > 0
        for node in pipeline.nodes:
            is_window = isinstance(node, Window)
            sliding = is_window and node.panes_count() > 1
            seen.add((type(node).__name__, node.name.split("_")[0], sliding))
            hows.add(getattr(node, "how", None))
            if is_window:
                triggers.add((node.emit, node.early_ns > 0, node.lateness_ns > 0, sliding))
        sources.add(len(pipeline.sources))
        late, ahead = late + made.late, ahead + made.ahead
        forgotten, evicted = forgotten + made.forgotten, evicted + made.evicted
        dropped += made.dropped

    assert late > 100
    assert min(ahead, forgotten, evicted, dropped) > 0
    assert {2, 3} <= sources
    assert {"Session", "Batches", "InOrder", "Matcher"} <= {kind for kind, _, _ in seen}
    assert {"inner", "left", "anti"} <= hows
    windows = {(name, slides) for name in ("Chain", "Largest", "Trail") for slides in (True, False)}
    assert {(name, sliding) for kind, name, sliding in seen if kind == "Window"} == windows
    assert triggers == {
        ("end", False, False, False), ("end", False, False, True), ("end", False, True, False),
        ("end", False, True, True), ("end", True, True, False), ("each", False, True, False),
    }  # fmt: skip
    operators = {name for kind, name, _ in seen if kind in ("OperatorNode", "Merge")}
    assert any(name.endswith("Lookup") for name in operators)
    assert {name for name in operators if not name.endswith("Lookup")} == {
        "Pair", "Sleeper", "Split", "closed", "every", "merge", "noted", "scaled", "some", "ticked",
        "told",
    }  # fmt: skip
