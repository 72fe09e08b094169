"""Versions of a small pipeline as files, and a tape that they run on."""

import numpy as np

from onetape.engine.digest import digests_of, state_digest
from onetape.runtimes import course
from onetape.runtimes.code import code_at, store
from onetape.runtimes.edge.follower import follow
from onetape.runtimes.load import load_pipeline
from onetape.tape.layout import read_facts
from onetape.tape.reader import read_segments

BLOCK = 500
HEAD = """
import onetape as ot

@ot.record
class Number:
    ts_event_ns: ot.i64
    key: ot.i64

@ot.record
class Sum:
    ts_event_ns: ot.i64
    key: ot.i64
    sum: ot.i64
"""
# One key's state is `sum`; each version adds something else.
ADDS = (
    HEAD
    + """
@ot.operator(key="key")
class Adds:
    sum: ot.i64 = 0

    def on_number(self, n: Number, *, times: int = {times}) -> Sum | None:
        self.sum += times
        return Sum(n.ts_event_ns, n.key, self.sum)

numbers = ot.source(Number, name="numbers")
pipeline = ot.Pipeline(sum=Adds(numbers))
"""
)
# With another field of state, and a timer of it, by a rule that says what becomes of the old one.
WIDER = (
    HEAD
    + """
@ot.operator(key="key")
class Adds:
    wake_ns: ot.i64 = ot.UNSET
    count: ot.i64 = 0
    sum: ot.i64 = 0
{migrate}
    def on_number(self, n: Number) -> Sum | None:
        self.sum += 3
        self.count += 1
        self.wake_ns = n.ts_event_ns + 5
        return Sum(n.ts_event_ns, n.key, self.sum)

    def on_timer(self, now_ns: int) -> Sum | None:
        return Sum(now_ns, -self.count, self.sum)

numbers = ot.source(Number, name="numbers")
pipeline = ot.Pipeline(sum=Adds(numbers))
"""
)
BY_NAME = "    migrate = migrate_back = 'by_name'\n"
BY_RULE = """
    def migrate(self, old):
        self.sum = old.sum * 10
        self.count = old.sum
        self.wake_ns = 2_000_000

    def migrate_back(self, old):
        old.sum = self.sum // 10 + self.count
"""


def version(folder, text, settings=None):
    """(code, pipeline) of a version written to a file."""
    folder.mkdir(exist_ok=True)
    path = folder / "pipeline.py"
    path.write_text(text)
    pipeline = load_pipeline(str(path))
    pipeline.code = code_at(str(path), settings or {})
    return pipeline


def stored(node, folder, text, settings=None):
    """Keep a version beside the node's tape; its name."""
    from dataclasses import replace

    from onetape.engine.planner import plan
    from onetape.engine.settings import with_settings

    made = version(folder, text, settings)
    driver = plan(with_settings(made, settings or {}), node.manifest["framing"]).driver
    return store(node.folder, replace(made.code, driver=driver))


def numbers(first, count=BLOCK):
    """A block of them; the keys are 0 to 9."""
    block = np.zeros(count, [("ts_event_ns", "<i8"), ("key", "<i8")])
    block["ts_event_ns"] = 1_000_000 + np.arange(first, first + count)
    block["key"] = np.arange(first, first + count) % 10
    return block.tobytes()


class Kept:
    """The rows and digests of a node or a replay."""

    def __init__(self, planned):
        self.digests = digests_of(planned)
        self.rows = {name: [] for name in planned.outputs}

    def follow(self, planned):
        follow(self.digests, planned)
        for name in planned.outputs:
            self.rows.setdefault(name, [])

    def take(self, blocks):
        for name, rows, origins in blocks:
            self.digests[name].update(rows, origins)
            self.rows[name] += rows.tolist()

    def hexes(self):
        return {name: digest.hexdigest() for name, digest in self.digests.items()}


def replayed(pipeline, folder):
    """(Kept, state digest, course) of the tape run again."""
    ran = course.begin(pipeline, folder, read_facts(str(folder)).manifest)
    kept = Kept(ran.engine.plan)
    ran.when_swapped.append(lambda made: kept.follow(made.engine.plan))
    for buffer, begin, end in read_segments(folder):
        kept.take(ran.feed(buffer, begin, end))
    return kept, state_digest(ran.engine), ran
