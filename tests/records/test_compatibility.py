"""What may follow what: each rule, and the sentence that names the field and says what to do."""

import itertools

import pytest
from tests.records.changes import (
    ADDED,
    ADDED_DEFAULT,
    ARRAY,
    CASES,
    FIRST,
    NARROWER,
    OTHER_NAME,
    REMOVED,
    RENAMED,
    RENAMED_WAS,
    WIDER,
    schema,
)

import onetape as ot
from onetape.records import DeclarationError
from onetape.records.compatibility import MODES, problems


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
def test_a_change_under_a_rule(case, mode):
    before, after, backward, forward = CASES[case]

    found = problems(after, [(3, before)], mode)

    expected = set()
    if mode.startswith(("backward", "full")) and backward:
        expected.add((backward, "backward"))
    if mode.startswith(("forward", "full")) and forward:
        expected.add((forward, "forward"))
    assert {(one.field, one.rule) for one in found} == expected
    assert all(one.says.startswith(one.field) and "version 3" in one.says for one in found)


@pytest.mark.parametrize(
    ("before", "after", "mode", "says"),
    [
        (FIRST, ADDED, "backward", "is new and has no default, so what was written with version 3 "
         "cannot be read; give it one (c: ot.u32 = 0)"),
        (FIRST, RENAMED, "backward", "or, if it was called 'b': @ot.record(was={'d': 'b'})"),
        (FIRST, REMOVED, "forward", "is gone, and who reads with version 3 needs it: it has no "
         "default there; keep it, or first deploy a version in which it has a default"),
        (FIRST, RENAMED_WAS, "forward", "is called 'd' now, and who reads with version 3 needs it"),
        (FIRST, WIDER, "forward", "was u16 in version 3 and is i64: who reads with version 3 "
         "cannot read it; keep it as it was"),
        (FIRST, NARROWER, "backward", "was u16 in version 3 and is u8: what was written with "
         "version 3 cannot be read"),
        (FIRST, OTHER_NAME, "backward", "Other was called Row in version 3"),
        (REMOVED, ARRAY, "backward", "an array can have none; put it into a record of its own"),
    ],
)  # fmt: skip
def test_a_problem_says_what_to_do(before, after, mode, says):
    (found,) = problems(after, [(3, before)], mode)

    assert says in found.says


def test_only_the_transitive_rules_look_further_back_than_the_last():
    before = [(1, FIRST), (2, ADDED_DEFAULT), (3, ADDED)]
    after = schema(a=ot.i64, b=ot.u16, c=ot.u32, d=ot.i64, defaults={"d": 0})

    assert problems(after, before, "backward") == []
    (found,) = problems(after, before, "backward_transitive")
    assert (found.field, found.version) == ("Row.c", 1)
    assert problems(after, before, "forward_transitive") == []
    assert len(problems(after, before, "full_transitive")) == 1
    assert problems(after, [], "full_transitive") == []


def test_a_name_that_both_a_field_and_an_old_one_have_is_refused():
    (found,) = problems(RENAMED_WAS, [(1, schema(a=ot.i64, b=ot.u16, d=ot.u16))], "backward")

    assert (found.field, found.kind) == ("Row.d", "ambiguous")


def test_a_rule_that_is_none():
    with pytest.raises(DeclarationError, match="compatibility was 'sideways'; expected one of"):
        problems(FIRST, [(1, FIRST)], "sideways")


BITS = {"u8": 8, "u16": 16, "u32": 32, "u64": 64, "i32": -31, "i64": -63, "f64": 0}


@pytest.mark.parametrize(("writer", "reader"), list(itertools.product(BITS, BITS)))
def test_which_type_may_become_which(writer, reader):
    """A reader has room for what was written; a u64 is read as such alone, whatever holds it."""
    old, new = schema(x=getattr(ot, writer)), schema(x=getattr(ot, reader))
    w, r = BITS[writer], BITS[reader]

    if reader == "f64":
        may = writer != "u64"
    elif writer == "f64":
        may = False
    else:
        may = w == r or (w > 0 and abs(r) >= w and (r > 0 or -r >= w)) or (w < 0 and r <= w)
    assert (not problems(new, [(1, old)], "backward")) == may
