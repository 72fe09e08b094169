"""One version of a pipeline after another, on the same input: which state goes on, and how.

    succession = succeed(engine, plan(new_pipeline))
    succession.take_over()                  # between two frames
    succession.engine.feed(...)             # goes on where the old engine was

Each node of the new version takes over from the one that `matching` finds for it in the old.

    same layout      kept: both engines have the very same arrays, nothing is copied
    more capacity    keys and state are copied into the larger arrays
    other layout     each key's row is filled by the rule that the operator declares (`migrate`), or
                     on the way back by the one that the version before declares (`migrate_back`)
    a new node       begins empty
    a node is gone   its state is dropped, if that was allowed

Everything else is refused, before anything has changed. What is left to do between two frames is
one function, generated for the two versions: a hot loop calls it, and every replay does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onetape.compiled.index import COUNT, FREE, find, insert
from onetape.compiled.recency import new_links, see
from onetape.compiled.rows import copy_row, row
from onetape.compiled.timers import NEVER, new_timers, next_wake
from onetape.engine import compile as compiler
from onetape.engine import layout
from onetape.engine.engine import Engine
from onetape.engine.graph import Node
from onetape.engine.keyed import DIRECT, rearm, slots_of
from onetape.engine.matching import differs, matched, other_records, other_sources
from onetape.engine.operators import BY_NAME, WAKE
from onetape.engine.planner import Plan
from onetape.engine.text import Text
from onetape.records import OperatorError


@dataclass
class Succession:
    """The new engine, and what is to be done before its first frame.

    engine   of the new version; it shares arrays with the old one, which must not run again
    outputs  int64[outputs]: the old version's number of each output, -1: there was none
    steps    {node: what becomes of its state}, of nodes that have any
    """

    engine: Engine
    outputs: Any
    steps: dict[str, str]
    text: str
    names: dict[str, Any]
    arguments: list[Any]

    def function(self) -> Any:
        """`take_over` of these two versions, compiled for its arguments."""
        return compiler.generated(self.text, self.names, "take_over", self.arguments)

    def take_over(self) -> None:
        """Bring the new engine to where the old one is. O(keys whose rows are migrated)."""
        self.function()(*self.arguments)


def succeed(
    old: Engine,
    plan: Plan,
    *,
    back: bool = False,
    drop_state: bool = False,
    output_rows: int | None = None,
) -> Succession:
    """A new engine of `plan` in the place of `old`; OperatorError names all that cannot go on.

    back         the new version is the one before: rules are the old one's `migrate_back`
    drop_state   state of nodes that are gone, or that no rule takes over, may be lost
    """
    before, after = old.plan.pipeline, plan.pipeline
    work = _Work(old, {name: make() for name, make in plan.arrays.items()}, back, drop_state)
    work.refused += other_sources(old.plan, plan) + other_records(before, after)
    if not work.refused:
        pairs = matched(before, after)
        for number, node in enumerate(after.nodes):
            work.take(number, node, pairs.get(number))
        gone = set(range(len(before.nodes))) - set(pairs.values())
        for number in sorted(gone):
            if _state_of(old.arrays, number):
                work.lose(
                    before.nodes[number].name,
                    "is not in the new version, or could be one of several there",
                )
    if work.refused:
        raise OperatorError(
            "the new version cannot take over: "
            + "; ".join(work.refused)
            + ("; --drop-state lets state go: it begins empty" if work.droppable else "")
        )
    rows = output_rows or max((len(a) for n, a in old.arrays.items() if n[0] == "o"), default=1)
    shared = {"run": old.run, "sources": old.sources}
    engine = Engine(plan, output_rows=rows, given=work.arrays | shared)
    names = list(before.outputs)
    outputs = np.array(
        [names.index(n) if n in names else -1 for n in after.outputs] or [-1], np.int64
    )
    nodes = np.array([pairs.get(n, -1) for n in range(len(after.nodes))], np.int64)
    fixed = {
        "run": old.run,
        "old_heads": old.heads,
        "heads": engine.heads,
        "tails": engine.tails,
        "old_counts": old.counts_words,
        "counts": engine.counts_words,
        "outputs": outputs,
        "nodes": nodes,
    }
    text, arguments = _take_over(work, engine, fixed)
    return Succession(engine, outputs, work.steps, text, _NAMES | work.names, arguments)


def _state_of(arrays: dict[str, Any], number: int) -> dict[str, Any]:
    """{name without the node's label: array} of a node."""
    label = f"n{number}_"
    return {name[len(label) :]: a for name, a in arrays.items() if name.startswith(label)}


@dataclass
class _Work:
    """What is found out, node by node."""

    old: Engine
    arrays: dict[str, Any]  # of the new engine; those that are kept are the old one's
    back: bool
    drop_state: bool
    refused: list[str] = field(default_factory=list)
    droppable: bool = False
    steps: dict[str, str] = field(default_factory=dict)
    body: Text = field(default_factory=Text)
    used: dict[str, Any] = field(default_factory=dict)  # arrays that the body names
    names: dict[str, Any] = field(default_factory=dict)

    def take(self, number: int, node: Node, was: int | None) -> None:
        """Decide about one node of the new version."""
        mine = _state_of(self.arrays, number)
        if not mine:
            return
        theirs = _state_of(self.old.arrays, was) if was is not None else {}
        if was is None or not theirs:
            self.say(node.name, "begins empty")
            return
        before = self.old.plan.pipeline.nodes[was]
        if why := differs(before, node):
            self.lose(node.name, why)
            return
        rule = None
        if "state" in mine and mine["state"].dtype != theirs["state"].dtype:
            rule, why = self._rule(before, node, mine["state"].dtype, theirs["state"].dtype)
            if why:
                self.lose(node.name, why)
                return
        others = [n for n in mine if n in theirs and not (rule and n == "state")]
        odd = [n for n in others if mine[n].dtype != theirs[n].dtype]
        if odd or ({*mine} ^ {*theirs}) - {"timers", "heap", "links"}:
            self.lose(node.name, f"holds other state than before ({', '.join(odd) or 'its kind'})")
            return
        if not _is_even(mine, theirs, others):
            self.lose(node.name, "has room for another number of entries, of each key or in all")
            return
        grown = any(len(mine[n]) > len(theirs[n]) for n in others)
        if grown:
            self._grow(number, was, mine, theirs, others)
        else:
            self._keep(number, theirs, others, rule)
        if rule:
            self._migrate(number, was, rule)
        if "timers" in mine and (rule or "timers" not in theirs):
            self._rearm(number)
        if "links" in mine and "links" not in theirs:
            self._see(number)
        how = "is kept" if not grown else f"is copied: {len(mine['keys']):,} keys have room"
        self.say(node.name, "is migrated, key by key" if rule else how)

    def say(self, name: str, what: str) -> None:
        many = sum(said.partition(" #")[0] == name for said in self.steps)
        self.steps[f"{name} #{many + 1}" if many else name] = what

    def lose(self, name: str, why: str) -> None:
        """State that cannot go on: dropped, or the new version is refused."""
        if self.drop_state:
            self.say(name, f"is dropped: it {why}")
        else:
            self.droppable = True
            self.refused.append(f"the state of {name}: it {why}")

    def _rule(self, before: Any, node: Any, now: Any, was: Any) -> tuple[Any, str]:
        """How a row is filled from the old one: (rule, why not)."""
        spec, name = (before.spec, "migrate_back") if self.back else (node.spec, "migrate")
        rule = getattr(spec, name, None)
        both = [n for n in now.names if n in was.names]
        if rule == BY_NAME:
            odd = [n for n in both if not _fits(was[n], now[n])]
            return [n for n in both if n not in odd], (
                f"has other types of {', '.join(odd)}: write def {name}(self, old)" if odd else ""
            )
        if rule is not None:
            return rule, ""
        new = [f"{n}: {now[n]}" for n in now.names if n not in was.names or now[n] != was[n]]
        gone = [n for n in was.names if n not in now.names]
        changes = [f"has {', '.join(new)}"] * bool(new) + [f"lost {', '.join(gone)}"] * bool(gone)
        return None, (
            f"{' and '.join(changes) or 'has its fields in another order'}; declare how a key's "
            f"row is filled: {name} = {BY_NAME!r}, or def {name}(self, old), in {spec.name}"
        )

    def _keep(self, number: int, theirs: Any, others: list[str], rule: Any) -> None:
        """The old arrays, which may have room for more keys than the new version asks for."""
        label = f"n{number}_"
        self.arrays |= {f"{label}{name}": theirs[name] for name in others}
        if rule:
            state = self.arrays[f"{label}state"]
            self.arrays[f"{label}state"] = np.zeros(len(theirs["state"]), state.dtype)
        if f"{label}timers" in self.arrays and "timers" not in theirs:
            timers, heap = new_timers(len(theirs["keys"]))
            self.arrays |= {f"{label}timers": timers, f"{label}heap": heap}
        if f"{label}links" in self.arrays and "links" not in theirs:
            self.arrays[f"{label}links"] = new_links(len(theirs["keys"]))

    def _name(self, prefix: str, number: int, name: str) -> str:
        arrays = self.arrays if prefix == "n" else self.old.arrays
        self.used[f"{prefix}{number}_{name}"] = (arrays, f"n{number}_{name}")
        return f"{prefix}{number}_{name}"

    def _grow(self, number: int, was: int, mine: Any, theirs: Any, others: list[str]) -> None:
        index, keys = self._name("was", was, "index"), self._name("was", was, "keys")
        new = {name: self._name("n", number, name) for name in ("index", "keys", "direct")}
        self.body.add(f"top = slots_of({index}, {keys})", f"{new['index']}[FREE] = {index}[FREE]")
        with self.body.block("for slot in range(top)"):
            self.body.add(
                f"key = {keys}[slot]",
                f"{new['keys']}[slot] = key",
                f"if find({index}, key) == slot:",
                f"    insert({new['index']}, key, slot)",
                "    if 0 <= key < DIRECT:",
                f"        {new['direct']}[key] = slot + 1",
            )
        for name in others:
            if name in new:
                continue
            to, source = self._name("n", number, name), self._name("was", was, name)
            each = len(mine[name]) // len(mine["keys"])
            count = {"heap": f"{source}[0] + 1", "links": "top + 1"}.get(name, f"top * {each}")
            with self.body.block(f"for i in range({count})"):
                is_rows = mine[name].dtype.names
                self.body.add(
                    f"copy_row({to}, i, {source}, i)" if is_rows else f"{to}[i] = {source}[i]"
                )

    def _migrate(self, number: int, was: int, rule: Any) -> None:
        new, old = self._name("n", number, "state"), self._name("was", was, "state")
        initial = f"x{number}_initial"
        self.used[initial] = (self.arrays, initial)
        state, count = self.arrays[new], int(self.old.arrays[f"n{was}_index"][COUNT])
        state[: count + count // 4 + 1024] = np.zeros(1, state.dtype)  # its memory is there by then
        mine, theirs = f"row({new}, slot)", f"row({old}, slot)"
        with self._each_key(number):
            self.body.add(f"copy_row({new}, slot, {initial}, 0)")
            if isinstance(rule, list):
                for name in rule:
                    cells = state.dtype[name].shape
                    with self.body.block(f"for i in range({cells[0] if cells else 1})"):
                        at = "[i]" if cells else ""
                        self.body.add(f"{mine}.{name}{at} = {theirs}.{name}{at}")
            else:
                self.names[f"n{number}_migrate"] = rule
                given = f"{theirs}, {mine}" if self.back else f"{mine}, {theirs}"
                self.body.add(f"n{number}_migrate({given})")

    @contextmanager
    def _each_key(self, number: int) -> Iterator[None]:
        """The block is run for the slot of each key that is known."""
        index, keys = self._name("n", number, "index"), self._name("n", number, "keys")
        every, held = f"slots_of({index}, {keys})", f"find({index}, {keys}[slot]) == slot"
        with self.body.block(f"for slot in range({every})"), self.body.block(f"if {held}"):
            yield

    def _see(self, number: int) -> None:
        """Keys are forgotten from now on, each a ttl after this moment or when it is seen again."""
        links = self._name("n", number, "links")
        with self._each_key(number):
            self.body.add(f"see({links}, slot, max(row(run, 0).reached_ns, 0))")

    def _rearm(self, number: int) -> None:
        keys, state, timers, heap = (
            self._name("n", number, n) for n in ("keys", "state", "timers", "heap")
        )
        with self._each_key(number):
            wake = f"row({state}, slot).{WAKE}"
            self.body.add(f"rearm({timers}, {heap}, slot, {keys}[slot], {wake})")


def _is_even(mine: Any, theirs: Any, others: list[str]) -> bool:
    """Are all arrays as long as before, for each key or, without keys, in all?"""
    each = set(others) - {"direct", "index", "heap", "links"}
    now, was = (len(of.get("keys", [0])) for of in (mine, theirs))
    return all(len(mine[n]) * was == len(theirs[n]) * now for n in each)


def _fits(was: Any, now: Any) -> bool:
    return bool(was.shape == now.shape and np.can_cast(was.base, now.base, "safe"))


def _take_over(work: _Work, engine: Engine, fixed: dict[str, Any]) -> tuple[str, list[Any]]:
    timed = [n[:-7] for n in engine.arrays if n[0] == "n" and n.endswith("_timers")]
    for label in timed:
        for name in (f"{label}_timers", f"{label}_heap"):
            work.used[name] = (engine.arrays, name)
    text = Text()
    text.add('"""One version takes over from another: see onetape/engine/succession.py."""', "", "")
    with text.block(f"def take_over({', '.join([*fixed, *work.used])})"):
        text.add(
            "for k in range(outputs.shape[0]):",
            "    if outputs[k] >= 0:",
            "        heads[k * LINE] = tails[k * LINE] = old_heads[outputs[k] * LINE]",
            "for n in range(nodes.shape[0]):",
            "    if nodes[n] >= 0:",
            "        for i in range(NODE_WORDS):",
            "            counts[NODE_WORDS * n + i] = old_counts[NODE_WORDS * nodes[n] + i]",
        )
        text.add(*work.body.lines)
        text.add("r = row(run, 0)", "r.next_wake_ns = NEVER")
        for label in timed:
            wake = f"next_wake_of({label}_timers, {label}_heap)"
            text.add(f"r.next_wake_ns = min(r.next_wake_ns, {wake})")
        text.add("return 0")
    return str(text), [*fixed.values(), *(arrays[name] for arrays, name in work.used.values())]


_NAMES: dict[str, Any] = {
    "DIRECT": DIRECT,
    "FREE": FREE,
    "LINE": layout.LINE,
    "NEVER": NEVER,
    "NODE_WORDS": layout.NODE_WORDS,
    "copy_row": copy_row,
    "find": find,
    "insert": insert,
    "next_wake_of": next_wake,
    "rearm": rearm,
    "row": row,
    "see": see,
    "slots_of": slots_of,
}
