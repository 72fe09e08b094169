"""Millions of keys: time and memory of keyed state, and what happens when there are too many.

    fresh   each event brings a key that was not there        hot    1 000 keys, all in the cache
    cold    a key at random among all                         full   ten times the keys that may be
    away    a fifth of all keys in memory, the others on the disk

Memory is the growth of this process while keys come, against what `onetape explain` says that the
operator reserves. Times are the processor's: other work on the machine is not in them, but for
`insertion_ns`, which are by the clock. The answer is checked: each event is counted once, in the
place of its key.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import onetape as ot
from onetape.compiled.counts import new_counts, percentile_ns, record_ns
from onetape.compiled.index import new_index
from onetape.compiled.kernel import kernel
from onetape.engine import explain
from onetape.engine.digest import state_digest
from onetape.engine.engine import Engine
from onetape.engine.frames import FramePacker
from onetape.engine.keyed import DIRECT, slot_only
from onetape.engine.planner import plan
from onetape.engine.spill import bytes_for
from onetape.engine.usage import usage
from onetape.native.clock import monotonic_ns
from onetape.runtimes import batch

BLOCK = 8192
SLACK_BYTES = 16 << 20  # of the allocator and of what is under way to the disk
SCATTER = np.uint64(0x9E3779B97F4A7C15)


@ot.record
class Deal:
    """An event of one of very many accounts."""

    ts_event_ns: ot.i64
    account_id: ot.i64
    lots: ot.i64


@ot.operator(key="account_id")
class Sums:
    """State of 24 bytes a key; says nothing but of accounts that deal a great deal."""

    deals: ot.i64 = 0
    lots: ot.i64 = 0
    last_ns: ot.i64 = 0

    def on_deal(self, d: Deal) -> Deal | None:
        self.deals += 1
        self.lots += d.lots
        self.last_ns = d.ts_event_ns
        return d if self.lots < 0 else None


def run(keys: int = 10_000_000, events: int = 5_000_000, seed: int = 1) -> dict[str, Any]:
    """ns an event and bytes a key; answer_ok: every event is in the state of its key."""
    rng = np.random.default_rng(seed)
    accounts = scattered(np.arange(keys))
    hot, cold = (accounts[rng.integers(0, most, events)] for most in (1000, keys))
    engine, reserved = _engine(keys)
    _feed(engine, accounts[:1])
    before = rss_bytes()
    found = {
        "fresh_ns_per_event": _feed(engine, accounts[1:]),
        "hot_ns_per_event": _feed(engine, hot),
        "cold_ns_per_event": _feed(engine, cold),
    }
    used = rss_bytes() - before
    held = usage(engine)["Sums"]["used"]
    state = engine.arrays["n1_state"]
    answer_ok = held == keys and int(state["deals"].sum()) == keys + 2 * events
    del engine, state
    insertions = new_counts()
    longest = insert_each(*_keyed_arrays(keys), accounts, insertions)
    away = _away(keys // 10, events // 10, rng)
    full = {kind: _full(kind, keys) for kind in ("drop_new", "evict_oldest", "ttl")}
    return {
        "answer_ok": answer_ok
        and used <= reserved + SLACK_BYTES
        and all(f.pop("ok") for f in (away, *full.values())),
        "keys": keys,
        **found,
        "resident_bytes_per_key": round(used / keys, 1),
        "reserved_bytes_per_key": round(reserved / keys, 1),
        "insertion_ns_p50": percentile_ns(insertions, 50),
        "insertion_ns_p99.9": percentile_ns(insertions, 99.9),
        "insertion_ns_p99.99": percentile_ns(insertions, 99.99),
        "insertion_ns_most": longest,
        "full": full,
        "away": away,
    }


def scattered(numbers: Any) -> Any:
    """Numbers as ids of 62 bits, without order."""
    return ((numbers.astype(np.uint64) * SCATTER) >> np.uint64(2)).astype(np.int64)


def rss_bytes() -> int:
    """Memory that this process has now."""
    status = Path("/proc/self/status").read_text()  # without the pages of files: they give way
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


def _full(kind: str, keys: int) -> dict[str, Any]:
    """All keys once through an operator that may hold a tenth of them."""
    limit = keys // 10
    said = {"ttl": limit // 2} if kind == "ttl" else {"when_full": kind}  # an event is a ns
    engine, _ = _engine(limit, **said)
    ns = _feed(engine, scattered(np.arange(keys)))
    facts = usage(engine)["Sums"]
    expected = {
        "drop_new": (limit, 0, 0, keys - limit),
        "evict_oldest": (limit, 0, keys - limit, 0),
        "ttl": (limit // 2, keys - limit // 2, 0, 0),
    }
    told = tuple(facts[name] for name in ("used", "forgotten", "evicted", "dropped"))
    return {"ok": told == expected[kind], "ns_per_event": ns, **facts}


def _away(keys: int, events: int, rng: Any) -> dict[str, Any]:
    """A state of several times the memory: LMDB in the folder for temporary files."""
    accounts = scattered(np.arange(keys))
    hot, cold = (accounts[rng.integers(0, most, events)] for most in (1000, keys))
    room = Sums.node(ot.source(Deal), capacity={"keys": keys})
    memory = bytes_for(room, keys // 5)
    engine, _ = _engine(keys, memory=memory)
    before = rss_bytes()
    found = {
        "memory_bytes": memory,
        "fresh_ns_per_event": _feed(engine, accounts),
        "hot_ns_per_event": _feed(engine, hot),
        "cold_ns_per_event": _feed(engine, cold),
    }
    resident, facts = rss_bytes() - before, usage(engine)["Sums"]
    whole, _ = _engine(keys)
    for some in (accounts, hot, cold):
        _feed(whole, some)
    same = state_digest(engine) == state_digest(whole)
    return {
        "ok": same and facts["used"] == keys and resident <= memory + SLACK_BYTES,
        **found,
        "resident_bytes": resident,
        "keys": keys,
        "keys_away": facts["away"],
    }


def _engine(keys: int, **said: Any) -> tuple[Engine, int]:
    """An engine, and how many bytes `onetape explain` says its operator reserves."""
    pipeline = ot.Pipeline(out=Sums(ot.source(Deal), capacity={"keys": keys}, **said))
    return batch.make_engine(pipeline), explain.explain(plan(pipeline))["nodes"][1][
        "reserved_bytes"
    ]


def _feed(engine: Engine, accounts: Any) -> float:
    """ns an event; events follow one another by a ns."""
    elapsed = 0
    for buffer, begin, end in _frames(accounts, int(engine.run["events"][0])):
        began = time.process_time_ns()
        for _ in engine.feed(buffer, begin, end):
            pass
        elapsed += time.process_time_ns() - began
    return round(elapsed / len(accounts), 1)


def _frames(accounts: Any, began_ns: int) -> Iterator[Any]:
    packer, block = FramePacker(), np.zeros(BLOCK, Deal.dtype)  # type: ignore[attr-defined]
    for at in range(0, len(accounts), BLOCK):
        some = accounts[at : at + BLOCK]
        rows = block[: len(some)]
        rows["ts_event_ns"] = np.arange(len(some)) + began_ns + at + 1
        rows["account_id"], rows["lots"] = some, 3
        yield packer.data(rows.tobytes())


def _keyed_arrays(keys: int) -> tuple[Any, Any, Any]:
    return np.zeros(DIRECT, np.int64), new_index(keys), np.zeros(keys, np.int64)


@kernel
def insert_each(direct, index, held, accounts, counts):
    """Insert all, each by the clock; returns the longest, which may be one of another process."""
    longest = 0
    for i in range(accounts.shape[0]):
        began = monotonic_ns()
        slot_only(direct, index, held, accounts[i])
        took = monotonic_ns() - began
        record_ns(counts, took)
        longest = max(longest, took)
    return longest
