"""What cannot be declared: each message says where, what was found and what was expected."""

import pytest
from tests.engine.parts import Chain, Note, Pair, Seen, Split, Tick, every_other, noted, scaled

import onetape as ot
from onetape.engine import Pipeline, Table, UpTo, merge, operator, planner, window
from onetape.records import DeclarationError

TICKS = ot.source(Tick)
NOTES = ot.source(Note)


def refused(message):
    return pytest.raises(DeclarationError, match=message)


def declare(name, body, annotations=None):
    """A class as an operator would be written, from its parts."""
    return type(name, (), {**body, "__annotations__": annotations or {}})


def on_tick(self, t: Tick) -> Tick | None: ...


# --- classes and functions ------------------------------------------------------------------------


def test_only_classes_and_functions_are_operators():
    with refused("@operator takes a class or a function, was given 5"):
        operator(5)


@pytest.mark.parametrize("name", ["version", "fields", "dtype"])
def test_a_record_s_own_names_are_no_fields(name):
    with refused(f"Odd.{name}: every record has a '{name}' of its own"):
        ot.record(type("Odd", (), {"__annotations__": {name: ot.i64}}))


@pytest.mark.parametrize("name", ["_index", "capacity", "canonical"])
def test_an_operator_s_own_names_are_no_state(name):
    with refused(f"Odd.{name}: this name is reserved"):
        operator(key="key")(declare("Odd", {"on_tick": on_tick, name: 1}, {name: ot.i64}))


def test_an_input_may_be_called_order():
    taken = operator(declare("Taker", {"on_order": on_tick}))(order=TICKS)

    assert taken.node.inputs == (("order", TICKS),)


def test_a_class_needs_an_input():
    with refused(r"operator Idle has no inputs: write a method on_<input>\(self, event\)"):
        operator(declare("Idle", {"wake": lambda self: None}))


def test_state_needs_a_key():
    with refused(r"operator Keyless has state but no key: write @operator\(key='instrument_id'\)"):
        operator(declare("Keyless", {"on_tick": on_tick, "count": 0}, {"count": ot.i64}))


def test_a_timer_needs_wake_ns():
    def on_timer(self, now_ns: int) -> None: ...

    with refused(r"operator Alarm has on_timer but no attribute 'wake_ns: ot.i64 = ot.UNSET'"):
        operator(key="key")(
            declare("Alarm", {"on_tick": on_tick, "on_timer": on_timer, "n": 0}, {"n": ot.i64})
        )


def test_state_needs_a_default_and_an_array_begins_with_zeros():
    class Counter:
        seen: ot.Array[ot.i64, 4]
        count: ot.i64

        def on_tick(self, t: Tick) -> Tick | None: ...

    with refused(r"test_declarations.py:\d+: Counter.count is state without a default"):
        operator(Counter, key="key")

    Counter.count = 5
    assert operator(Counter, key="key").spec.initial == (0, 5)


def test_what_state_begins_with_is_part_of_the_fingerprint():
    def driver(first):
        made = declare("Counter", {"count": first, "on_tick": on_tick}, {"count": ot.i64})
        return planner.plan(Pipeline(made=operator(made, key="key")(TICKS))).driver

    assert driver(0) == driver(0) != driver(5)


def test_state_has_a_fixed_size():
    with refused(r"Wide.names: <class 'str'> cannot be state; use i64, u32, f64 ... or Array"):
        operator(key="key")(declare("Wide", {"on_tick": on_tick}, {"names": str}))


def test_tables_need_headroom_and_a_canonical_form():
    table = Table(lambda size: None)
    with refused("operator Shelf has tables but no headroom: write a function of its tables"):
        operator(declare("Shelf", {"on_tick": on_tick, "shelf": table}))
    with refused("operator Shelf has tables but no canonical"):
        operator(declare("Shelf", {"on_tick": on_tick, "shelf": table, "headroom": len}))


def test_a_handler_takes_an_event():
    def nothing(self) -> None: ...

    def number(self, t: int) -> None: ...

    def untyped(self, t) -> None: ...

    with refused("Deaf.on_tick takes no event"):
        operator(declare("Deaf", {"on_tick": nothing}))
    for handler, found in ((number, "was annotated int"), (untyped, "has no annotation")):
        with refused(f"Deaf.on_tick: parameter 't' {found}; expected the record it takes"):
            operator(declare("Deaf", {"on_tick": handler}))


def test_a_handler_returns_one_record_or_none():
    def number(self, t: Tick) -> int: ...

    def two(self, t: Tick) -> Tick | Note | None: ...

    def both(self, t: Tick, out: UpTo[1, Tick]) -> Tick | None: ...

    for handler in (number, two):
        with refused(r"Odd.on_tick returns .*; expected X | None, X a record"):
            operator(declare("Odd", {"on_tick": handler}))
    with refused("Odd.on_tick both returns a record and takes emitters"):
        operator(declare("Odd", {"on_tick": both}))


def test_a_second_parameter_is_an_output_or_comes_after_a_star():
    def loose(self, t: Tick, most: int) -> None: ...

    with refused(r"Odd.on_tick: parameter 'most' was annotated int; expected ot.UpTo"):
        operator(declare("Odd", {"on_tick": loose}))


@pytest.mark.parametrize("at_most, of", [(0, Tick), (4097, Tick), (1, int)])
def test_an_output_has_a_bound_and_a_record(at_most, of):
    with refused(rf"UpTo\[{at_most}, .*\]: expected 1 to 4096 and a record"):
        UpTo[at_most, of]


def test_an_output_is_of_one_record():
    def on_a(self, t: Tick, out: UpTo[1, Tick]) -> None: ...

    def on_b(self, t: Tick, out: UpTo[1, Note]) -> None: ...

    with refused("Odd: output 'out' is Tick in one method and Note in on_b"):
        operator(declare("Odd", {"on_a": on_a, "on_b": on_b}))


def test_a_functions_state_and_key_belong_together():
    def counted(t: Tick, s: Seen) -> None: ...

    def twice(t: Tick, s: Seen, more: Seen) -> None: ...

    def plain(t: Tick) -> None: ...

    with refused("operator counted: state and key belong together; give key=..."):
        operator(counted)
    with refused("operator plain: state and key belong together; take a state as the second"):
        operator(key="key")(plain)
    with refused(r"operator twice takes more than one state: \['s', 'more'\]"):
        operator(key="key")(twice)


# --- putting them together ------------------------------------------------------------------------


def test_an_input_takes_streams_of_its_record():
    with refused("scaled: input 'events' takes Tick, was given a stream of Note"):
        scaled(NOTES)
    with refused("scaled: input 'events' was 3; expected a stream"):
        scaled(3)
    with refused("Pair needs a stream for input 'note'"):
        Pair(TICKS)
    with refused("scaled has 1 inputs, was given 2 streams"):
        scaled(TICKS, TICKS)
    with refused("window was given <operator scaled> and .*; expected a stream and an @aggregate"):
        window(scaled, Chain, width=10, key="key")
    with refused("scaled: input 'events' was <outputs low, notes of Split>; expected a stream"):
        scaled(Split(TICKS))


def test_inputs_may_be_given_by_name():
    in_order, by_name = Pair(TICKS, NOTES), Pair(note=NOTES, tick=TICKS)

    assert dict(in_order.node.inputs) == dict(by_name.node.inputs)


def test_the_key_is_an_integer_field_of_the_input():
    @ot.record
    class Priced:
        ts_event_ns: ot.i64
        price: ot.f64
        levels: ot.Array[ot.i64, 3]

    def priced(p: Priced, s: Seen) -> Tick | None: ...

    prices = ot.source(Priced)
    with refused("priced is keyed by 'key', which Priced does not have; its fields are ts_event"):
        operator(key="key")(priced)(prices)
    with refused("priced is keyed by 'price', which is a float in Priced; expected an integer"):
        operator(key="price")(priced)(prices)
    with refused("priced is keyed by 'levels', which is an array in Priced"):
        operator(key="levels")(priced)(prices)


def test_settings_are_known_whole_and_fit():
    with refused(r"scaled has no input or setting 'bye'; it has inputs events and settings by, pl"):
        scaled(TICKS, bye=3)
    with refused("scaled: setting 'by' was 0.5; expected a whole number"):
        scaled(TICKS, by=0.5)
    with refused("scaled: setting 'by' was True; expected a whole number"):
        scaled(TICKS, by=True)
    with refused(f"scaled: setting 'by' was {2**63}; it has 64 bits"):
        scaled(TICKS, by=2**63)
    with refused("duration '5 min' is not a whole number and a unit; write for example '5ms'"):
        noted(TICKS, shift="5 min")

    @operator
    def at_least(t: Tick, *, least: int) -> Tick | None: ...

    with refused("at_least needs a value for setting 'least'"):
        at_least(TICKS)


def test_capacities_are_known_and_positive():
    with refused(r"every_other: capacity has no \['rows'\]; it has \['keys'\]"):
        every_other(TICKS, capacity={"rows": 5})
    for count in (0, -1, "many"):
        with refused(rf"every_other: capacity of keys was {count!r}; expected 1 or more"):
            every_other(TICKS, capacity={"keys": count})
    with refused(r'every_other: capacity was 2000; write capacity=\{"keys": 2000\}'):
        every_other(TICKS, capacity=2_000)
    with refused(
        r'test_declarations.py:\d+: Few.capacity was 2000; .* write capacity = \{"keys": 2000\}'
    ):

        @operator(key="key")
        class Few:
            sum: ot.i64 = 0
            capacity = 2_000

            def on_tick(self, t: Tick) -> Tick | None: ...


def test_order_is_by_arrival_or_event_time():
    with refused("scaled: order was 'time'; expected 'arrival' .* or 'event_time'"):
        scaled(TICKS, order="time")
    with refused("scaled: capacity was 0 rows that wait; expected 1"):
        scaled(TICKS, order="event_time", capacity={"waiting": 0})


def test_a_merge_is_of_one_record():
    with refused(r"merge takes streams of one record, was given \['Note', 'Tick'\]"):
        merge(TICKS, NOTES)
    with refused("merge takes streams of one record"):
        merge()
    with refused("merge was given <outputs low, notes of Split>; expected streams"):
        merge(TICKS, Split(TICKS))


def test_a_source_gives_records_with_a_time():
    @ot.record
    class Timeless:
        key: ot.i64

    with refused("a source gives records, was given <class 'int'>"):
        ot.source(int)
    with refused("Timeless has no field ts_event_ns, its event time"):
        ot.source(Timeless)
    with refused("source tick: lateness was -1 ns; expected 0+"):
        ot.source(Tick, lateness=-1)
    with refused("duration was 1.5; expected text such as '5ms', or whole ns"):
        ot.source(Tick, idle=1.5)
    with refused("source 'ftp:file': scheme 'ftp' is not known; known are itch"):
        ot.source("ftp:file")


def test_a_pipeline_has_named_streams_as_outputs():
    with refused("a pipeline needs at least one named output"):
        Pipeline()
    with refused("output 'x' was 5; expected a stream"):
        Pipeline(x=5)


def test_sources_have_different_names():
    pipeline = Pipeline(x=TICKS, y=ot.source(Tick))

    with refused("two sources have one name; give them different names"):
        planner.plan(pipeline)


def test_an_output_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Split has no output 'high'; it has low, notes"):
        _ = Split(TICKS).high


def test_a_setting_of_two_handlers_has_one_meaning():
    @ot.operator(key="key")
    class Torn:
        wake_ns: ot.i64 = ot.UNSET

        def on_tick(self, t: Tick, *, width: ot.Duration = "1s") -> None:
            self.wake_ns = t.ts_event_ns + width

        def on_timer(self, now_ns: int, *, width: ot.Duration = "2s") -> None:
            pass

    with pytest.raises(DeclarationError, match="'width' is declared twice, as '1s' and, in on_ti"):
        Torn(ot.source(Tick))


@pytest.mark.parametrize("address", ["not an address", "127.0.0.1", "127.0.0.1:0", "host:9000", 5])
def test_where_rows_go_is_checked_where_it_is_written(address):
    with refused(r"test_declarations.py:\d+: udp was given .*; expected HOST:PORT"):
        TICKS >> ot.udp(address)


def test_rows_of_an_output_leave_as_datagrams_to_one_address():
    with refused(r"test_declarations.py:\d+: .* has two udp sinks; expected one"):
        TICKS >> ot.udp("127.0.0.1:9000") >> ot.udp("127.0.0.1:9001")


def test_a_setting_of_ones_own_may_be_called_with():
    @ot.operator
    def gave(t: Tick, *, with_tick: int = 3) -> Tick | None:
        return Tick(t.ts_event_ns, t.key, with_tick)

    plan = planner.plan(Pipeline(out=gave(TICKS, with_tick=7)))

    assert ", 7)" in plan.text
