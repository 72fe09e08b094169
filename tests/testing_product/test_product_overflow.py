"""What compiled code would wrap is found in plain Python, with operator, line and field."""

import pytest

import onetape as ot
from onetape import c, testing
from onetape import market as mk
from onetape.compiled.bits import mul_wrap
from onetape.compiled.kernel import kernel
from onetape.engine.engine import ColumnError
from onetape.testing.overflow import CheckedRecord, Int, Overflow, checked_function

WIDE = 2**62


@ot.record
class Number:
    ts_event_ns: ot.i64
    key: ot.u32
    value: ot.i64


@ot.record
class Small:
    ts_event_ns: ot.i64
    id: ot.u64
    byte: ot.u8
    pair: ot.Array[ot.i32, 2]


@ot.operator(key="key")
class Stores:
    narrow: ot.i32 = 0
    cells: ot.Array[ot.u16, 2]
    total: ot.i64 = 0

    def on_number(self, n: Number, *, where: int = 0) -> Number | None:
        if where == 0:
            self.narrow = n.value + 0
        elif where == 1:
            self.cells[n.key] = n.value + 0
        elif where == 2:
            self.total += n.value
        elif where == 3:
            self.total = n.value * where
        elif where == 4:
            self.total = twice(n.value) // 2
        elif where == 5:
            self.total = mul_wrap(n.value, n.value)
        return None


@kernel
def twice(value):
    return value * 2


@ot.operator
def emits(n: Number, out: ot.UpTo[2, Small], *, where: int = 0) -> None:
    if where == 0:
        made = out.row()
        made.byte = n.value + 0
    elif where == 1:
        made = out.row()
        made.pair[1] = n.value + 0


@ot.operator
def trades(n: Number, out: ot.UpTo[1, mk.Trade]) -> None:
    out.append(mk.Trade(n.ts_event_ns, 0, 0, n.value, 0, 0, -1, 0, 0, 0, 0, 0))


@ot.operator
def returns(n: Number, *, where: int = 0) -> Number | None:
    if where == 0:
        return Number(n.ts_event_ns, n.value + 0, 0)
    return None


@ot.operator(key="key")
class Later:
    wake_ns: ot.i64 = ot.UNSET
    key: ot.i64 = 0

    def on_number(self, n: Number) -> None:
        self.wake_ns = n.ts_event_ns + 1
        self.key = n.value

    def on_timer(self, now_ns: int) -> Number | None:
        return Number(now_ns, self.key, now_ns)


@ot.aggregate
class Sum:
    total: ot.i64 = 0

    def add(self, n: Number) -> None:
        self.total += n.value

    def result(self, key: int, start_ns: int, end_ns: int) -> Number | None:
        return Number(end_ns, key, self.total)


NUMBERS = ot.source(Number, name="numbers")
STORES = {n: ot.Pipeline(out=Stores(NUMBERS, where=n)) for n in range(6)}
RETURNS = ot.Pipeline(out=returns(NUMBERS))
LATER = ot.Pipeline(out=Later(NUMBERS))
SUMS = ot.Pipeline(out=ot.window(NUMBERS, Sum, width="1s", key="key"))
COLUMNS = ot.Pipeline(out=NUMBERS.with_columns(far=c.value * 4))


def failure(pipeline, *values):
    with pytest.raises(testing.CheckFailed) as caught:
        testing.check(pipeline, numbers=[Number(n, 1, v) for n, v in enumerate(values)])
    return str(caught.value).splitlines()


CASES = [
    (STORES[0], (1, 2**31), "Stores", "narrow was given 2147483648; int32 holds -2147483648 to 2"),
    (STORES[1], (1, -1), "Stores", "field cells[1] was given -1; uint16 holds 0 to 65535"),
    (STORES[2], (WIDE, WIDE), "Stores", f"{WIDE} + {WIDE} is {2**63}: more than 64 bits"),
    (STORES[3], (0, WIDE), "Stores", f"{WIDE} * 3 is {3 * WIDE}: more than 64 bits"),
    (STORES[4], (0, WIDE), "Stores", f"{WIDE} * 2 is {2**63}: more than 64 bits"),
    (RETURNS, (0, 2**32), "returns", "field Number.key was given 4294967296; uint32 holds 0 to"),
    (RETURNS, (0, -1), "returns", "field Number.key was given -1; uint32 holds 0 to 4294967295"),
    (LATER, (0, 2**32), "Later", "field Number.key was given 4294967296"),
    (SUMS, (-WIDE, -WIDE - 1), "Sum_1000000000ns", "-4611686018427387904 + -46116860184273879"),
]


@pytest.mark.parametrize(("pipeline", "values", "operator", "what"), CASES, ids=range(len(CASES)))
def test_an_overflow_is_told_with_its_operator_line_and_field(pipeline, values, operator, what):
    first, text, marked, rest = failure(pipeline, *values)

    assert first.startswith(__file__)
    assert f": operator {operator} overflows: " in first
    assert what in first
    line = int(first.removeprefix(f"{__file__}:").partition(":")[0])
    with open(__file__, encoding="utf-8") as own:
        assert own.read().splitlines()[line - 1].strip() == text.strip()
    assert set(marked.strip()) == {"^"}
    assert "event 2 of source numbers. Compiled code wraps here and says nothing" in rest


def test_what_a_timer_does_is_told_after_the_event_before_it():
    *_, rest = failure(LATER, 2**32)

    assert rest.startswith("at what is due after event 1 of source numbers. ")


def test_a_column_that_overflows_is_told():
    """It halts the compiled run as well: no checked run is needed to see it."""
    with pytest.raises(ColumnError, match="over 64 bits at offset 1, event 0") as caught:
        testing.check(COLUMNS, numbers=[Number(0, 1, 0), Number(1, 1, WIDE)])

    assert "COLUMNS = ot.Pipeline(out=NUMBERS.with_columns(far=c.value * 4))" in str(caught.value)


def test_values_that_fit_pass():
    alone = [*STORES.values(), RETURNS, LATER, SUMS, COLUMNS]
    together = ot.Pipeline(**{f"out{n}": one.outputs["out"] for n, one in enumerate(alone)})

    t = testing.check(together, numbers=[Number(n, n % 2, n) for n in range(20)], splits=1)

    assert t.counts.rows["out6"] == t.counts.rows["out9"] == 20


def test_arithmetic_that_is_meant_to_wrap_passes():
    testing.check(STORES[5], numbers=[Number(0, 1, 2**40 + 1)], splits=1)


def test_what_fits_no_emitter_or_record():
    from onetape.engine.emit import new_emitter
    from onetape.testing.overflow import CheckedEmitter

    def rows(of=Small):
        return CheckedEmitter(*new_emitter(of, 2))

    run = checked_function(emits.source)
    for where, value, message in (
        (0, 256, "field byte was given 256; uint8 holds 0 to 255"),
        (1, 2**31, r"field pair\[1\] was given 2147483648; int32"),
    ):
        with pytest.raises(Overflow, match=message):
            run(Number(0, 0, value), rows(), where)
    with pytest.raises(Overflow, match=r"field Trade.instrument_id was given -1; uint32"):
        checked_function(trades.source)(Number(0, 0, 0), rows(mk.Trade))
    with pytest.raises(Overflow, match=r"field Small.pair was given -2147483649; int32"):
        CheckedRecord(Small)(0, 0, 0, [0, -(2**31) - 1])
    assert CheckedRecord(Small)(0, -1, 0, [0, 0]).id == -1  # an id has any 64 bits


BIG = Int(2**63 - 1)
LEAST = Int(-(2**63))


@pytest.mark.parametrize(
    "compute",
    [
        lambda: BIG + 1,
        lambda: 1 + BIG,
        lambda: LEAST - 1,
        lambda: -2 - BIG,
        lambda: BIG * 2,
        lambda: BIG << 1,
        lambda: Int(2) ** 63,
        lambda: 2 ** Int(63),
        lambda: -LEAST,
        lambda: abs(LEAST),
        lambda: LEAST // -1,
        lambda: sum([BIG, Int(1)]),
    ],
)
def test_64_bits_are_all_there_are(compute):
    with pytest.raises(Overflow, match="more than 64 bits"):
        compute()


def test_other_arithmetic_is_that_of_integers():
    seven = Int(7)

    assert [seven - 9, seven // 2, seven % 4, -seven, ~seven, seven & 3, seven >> 1] == [
        -2, 3, 3, -7, -8, 3, 3,
    ]  # fmt: skip
    assert all(type(made) is Int for made in (seven + 1, 1 - seven, max(seven, 3), abs(-seven)))
    assert seven / 2 == 3.5
    assert seven * 0.5 == 3.5
    assert [10, 20][Int(1)] == 20


def test_int_len_and_range_of_an_operator_are_checked_too():
    def total(n):
        found = 0
        for i in range(n):
            found += i * (len([1, 2]) << 60)
        return int(2.0**63) if n == 1 else found

    assert checked_function(total)(2) == 2**61
    with pytest.raises(Overflow, match=r"6917529027641081856 \+ 6917529027641081856 is"):
        checked_function(total)(6)
    with pytest.raises(Overflow, match=r"int\(9.223372036854776e\+18\) is 9223372036854775808"):
        checked_function(total)(1)
