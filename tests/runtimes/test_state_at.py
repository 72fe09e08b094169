"""The state at a moment is what a pipeline holds that was fed exactly the events before it."""

import json
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.graphs import random_pipeline, random_steps
from tests.engine.running import frames, make, run_engine

import onetape as ot
from onetape import market as mk
from onetape.cli import main
from onetape.compiled import mode
from onetape.compiled.frame import DATA, END
from onetape.compiled.index import COUNT
from onetape.connect.itch_file import open_itch
from onetape.engine.engine import Engine
from onetape.engine.frames import FramePacker
from onetape.engine.planner import plan
from onetape.engine.window import Aggregating
from onetape.records import OperatorError
from onetape.runtimes import batch
from onetape.runtimes.course import Course
from onetape.runtimes.edge.follower import Follower
from onetape.runtimes.load import load_pipeline
from onetape.runtimes.manifest import manifest_of
from onetape.runtimes.state.tables import tables_of
from onetape.sim.exchange import write_file
from onetape.sim.own_day import OwnDay
from onetape.tape import checkpoint
from onetape.tape.reader import frames as tape_frames
from onetape.tape.tape import Tape

SMALL = {"ring_bytes": 1 << 16, "segment_bytes": 1 << 22}
DAY_NS = 20_000 * 86_400 * 10**9  # 2024-10-04
KEYS = 5


NUMBERS = """\
import onetape as ot


@ot.record
class Number:
    ts_event_ns: ot.i64
    key: ot.i64
    value: ot.i64


@ot.operator(key="key")
class Last:
    value: ot.i64 = ot.UNSET
    seen: ot.i64 = 0

    def on_event(self, n: Number) -> Number | None:
        self.value = n.value
        self.seen += 1
        return n


@ot.aggregate
class Sum:
    value: ot.i64 = 0

    def add(self, n: Number) -> None:
        self.value += n.value

    def merge(self, later: "Sum") -> None:
        self.value += later.value

    def result(self, key: int, start_ns: int, end_ns: int) -> Number | None:
        return Number(end_ns, key, self.value)


numbers = ot.source(Number)
pipeline = ot.Pipeline(
    last=Last(numbers),
    sums=ot.window(numbers, Sum, width=30, every=10, key="key"),
    pauses=ot.session(numbers, Sum, gap=7, key="key"),
)
"""
NUMBER = np.dtype([("ts_event_ns", "<i8"), ("key", "<i8"), ("value", "<i8")])


def make_tape(folder, pipeline, payloads, midnight_ns=0, *, saves=()):
    """A tape of these payloads, an END, and a checkpoint behind each frame number in `saves`."""
    planned = plan(pipeline)
    follower = Follower(Course(Engine(planned), None), folder)
    batch.set_midnight(follower.engine, midnight_ns)
    with Tape.create(folder, manifest_of(planned, midnight_ns, {}), **SMALL) as tape:
        for n, payload in enumerate([*payloads, None]):
            tape.append(0, END if payload is None else DATA, payload or b"", 0)
            if n in saves:
                tape.sync()
                follower.catch_up()
                follower.save()
        tape.sync()
    return folder


def naive(pipeline, payloads, midnight_ns=0):
    """The tables after these events, each in a frame of its own."""
    engine, packer = batch.make_engine(pipeline, midnight_ns=midnight_ns), FramePacker()
    for payload in payloads:
        for _ in engine.feed(*packer.data(payload)):
            pass
    return rows_of(tables_of(engine))


def rows_of(tables):
    return {name: table.to_pylist() for name, table in tables.items()}


def block_of(times, keys):
    block = np.zeros(len(times), NUMBER)
    block["ts_event_ns"] = times
    block["key"] = keys
    block["value"] = np.arange(len(times)) + 1
    return block


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """A tape of 300 numbers, now and then out of order, in frames of 1 to 20."""
    rng = np.random.default_rng(5)
    times = DAY_NS + np.cumsum(rng.integers(0, 4, 300)) - rng.integers(0, 2, 300)
    block = block_of(times, rng.integers(0, KEYS, 300))
    ends = np.unique(np.append(rng.integers(1, 300, 30), 300))
    parts = [part.tobytes() for part in np.split(block, ends[:-1])]
    file = tmp_path_factory.mktemp("numbers") / "numbers.py"
    file.write_text(NUMBERS)
    tape = make_tape(file.parent / "tape", load_pipeline(str(file)), parts, saves=(7, 13, 22))
    return block, tape, str(file)


def before(block, until_ns):
    """The events up to the first that is after the time."""
    late = np.flatnonzero(block["ts_event_ns"] > until_ns)
    return block[: late[0]] if len(late) else block


@settings(max_examples=12)
@given(st.integers(-3, 700))
def test_at_any_time_it_is_what_the_events_before_it_have_made(numbers, at):
    block, tape, file = numbers

    found = ot.state_at(file, tape, time=DAY_NS + at)

    ones = [event.tobytes() for event in before(block, DAY_NS + at)]
    assert rows_of(found) == naive(load_pipeline(file), ones)


def test_before_any_frame_it_is_what_the_frames_before_it_have_made(numbers):
    block, tape, file = numbers
    sizes = frame_sizes(tape)
    for offset in (1, 2, 9, 14, 23, len(sizes)):
        found = ot.state_at(file, tape, offset=offset)

        some = block[: sum(sizes[:offset])]
        assert rows_of(found) == naive(load_pipeline(file), [one.tobytes() for one in some])


def frame_sizes(tape):
    held = [(h.kind, len(payload)) for h, payload in tape_frames(tape)]
    return [size // 24 if kind == DATA else 0 for kind, size in held if kind != END]


def test_it_starts_from_the_checkpoint_before_and_a_damaged_one_is_passed_over(numbers, capsys):
    block, tape, file = numbers
    times = block["ts_event_ns"]
    clock = f"00:00:00.{int(times.max() - DAY_NS):09d}"
    saved = checkpoint.offsets(tape)
    args = ["state", file, str(tape), "--time", clock, "--json"]

    assert main(args) == 0
    whole = json.loads(capsys.readouterr().out)
    path = tape / "checkpoints" / f"{saved[-1]:020d}.checkpoint"
    good = path.read_bytes()
    path.write_bytes(good[:50] + bytes([good[50] ^ 4]) + good[51:])
    assert main(args) == 0
    out, err = capsys.readouterr()
    path.write_bytes(good)

    assert whole["from_offset"] == saved[-1]
    fallen = json.loads(out)
    assert fallen["from_offset"] == saved[-2]
    assert f"{path}: its hash was" in err and "one before it is used" in err
    assert fallen["state"] == whole["state"]
    assert len(whole["state"]["Last"]) == KEYS


def test_the_command_shows_one_key_and_leaves_parquet(numbers, tmp_path, capsys):
    _, tape, file = numbers
    args = ["state", file, str(tape), "--node", "Last", "--key", "3"]

    assert main([*args, "--parquet", str(tmp_path / "out")]) == 0

    text = capsys.readouterr().out
    table = pq.read_table(tmp_path / "out" / "Last.parquet")
    assert "Last, 1 rows" in text
    assert table.column_names == ["key", "value", "seen"]
    assert f"{table['value'][0]}" in text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--time", "25 past"], "the time was '25 past'; expected 10:31:07.2, or"),
        (["--time", "99:99:99"], "the time was '99:99:99'; expected 10:31:07.2, or"),
        (["--time", "25:30"], "the time was '25:30'; expected"),
        (["--time", "2026-01-05T10:60Z"], "the time was '2026-01-05T10:60Z'; expected"),
        (["--key", "NOPE"], "--key was 'NOPE'; expected a number, or a symbol"),
        (["--offset", "99999"], "the state before frame 99999 was asked for"),
        (["--node", "Nobody"], "--node was Nobody; the pipeline holds Last, Sum_30ns, Sum_session"),
    ],
)
def test_what_cannot_be_shown_is_said(numbers, capsys, more, said):
    _, tape, file = numbers

    assert main(["state", file, str(tape), *more]) == 1

    assert said in capsys.readouterr().err


def test_a_time_after_the_end_is_said_and_one_before_it_is_not(numbers, capsys):
    block, tape, file = numbers
    last_ns = int(block["ts_event_ns"].max() - DAY_NS)
    end = f"the tape ends at 00:00:00.{last_ns:09d}; this is the state at its end"
    for clock, is_said in ((f"00:00:00.{last_ns:09d}", False), ("00:00:01", True), ("23:59", True)):
        assert main(["state", file, str(tape), "--time", clock, "--json"]) == 0
        out, err = capsys.readouterr()
        assert (end in err) == is_said, clock
        assert len(json.loads(out)["state"]["Last"]) == KEYS
    assert main(["state", file, str(tape), "--time", "2099-01-01T00:00Z"]) == 0
    assert f"the tape ends at 2024-10-04T00:00:00.{last_ns:09d}Z" in capsys.readouterr().err


TABLES = """
import onetape as ot
from onetape import market as mk

@ot.operator(key="instrument_id")
class Lots:
    lots: ot.i64 = 0

    def on_trade(self, t: mk.Trade) -> mk.Trade | None:
        self.lots += t.qty_lots
        return None

pipeline = ot.Pipeline(out=Lots(ot.read("{path}", as_=mk.Trade, tick="0.01", name="ticker")))
"""


def test_symbols_of_tables_name_keys(tmp_path, capsys):
    names = ["BTCUSDT", "ETHUSDT", "BTCUSDT", "SOLUSDT"]
    table = pa.table(
        {
            "ts_event_ns": [1, 2, 3, 4],
            "instrument_id": names,
            "price_ticks": [1.0] * 4,
            "qty_lots": [1, 2, 4, 8],
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    file, tape = tmp_path / "tables.py", tmp_path / "tape"
    file.write_text(TABLES.replace("{path}", str(tmp_path / "in.parquet")))
    assert main(["run", str(file), "--tape", str(tape), "--json"]) == 0
    capsys.readouterr()

    assert main(["state", str(file), str(tape), "--key", "BTCUSDT", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["state"]["Lots"]
    assert [(row["symbol"], row["lots"]) for row in told] == [("BTCUSDT", 5)]
    held = ot.state_at(str(file), tape)["Lots"].to_pylist()
    expected = {"BTCUSDT": 5, "ETHUSDT": 2, "SOLUSDT": 8}
    assert {row["symbol"]: row["lots"] for row in held} == expected
    assert main(["state", str(file), str(tape), "--key", "btcusd"]) == 1
    assert "near to it: BTCUSDT" in capsys.readouterr().err


def test_symbols_of_the_public_feed_name_books_beside_own_orders(tmp_path, capsys):
    made = list(OwnDay(seed=1, milliseconds=300))
    itch = b"".join(each.payload for each in made if each.feed == "itch")
    fix = b"\n".join(each.payload for each in made if each.feed == "fix")
    (tmp_path / "01052026.itch").write_bytes(itch)
    (tmp_path / "drop.fix").write_bytes(fix + b"\n")
    file, tape = tmp_path / "mine.py", tmp_path / "tape"
    file.write_text(OWN.replace("DAY", str(tmp_path)))
    assert main(["run", str(file), "--tape", str(tape), "--json"]) == 0
    capsys.readouterr()

    held = ot.state_at(str(file), tape)["WithBook"].to_pylist()
    symbol = held[0]["symbol"]
    assert symbol
    assert main(["state", str(file), str(tape), "--key", symbol, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["state"]["WithBook"]
    assert told == [row for row in held if row["symbol"] == symbol]


OWN = """
import onetape as ot

public = ot.source("itch:DAY/01052026.itch")
pipeline = ot.Pipeline(mine=ot.source("fix:DAY/drop.fix").orders().with_book(public))
"""


def test_a_time_and_an_offset_are_one_too_many(numbers):
    with pytest.raises(OperatorError, match="expected one of the two"):
        ot.state_at(numbers[2], numbers[1], time=DAY_NS, offset=3)


def test_keys_that_were_forgotten_are_not_shown(tmp_path):
    bounded = 'Last(numbers, capacity={"keys": 3}, when_full="evict_oldest")'
    file = tmp_path / "bounded.py"
    file.write_text(NUMBERS.replace("Last(numbers)", bounded))
    ones = [
        event.tobytes() for event in block_of(DAY_NS + np.arange(9), [0, 1, 2, 3, 4, 3, 0, 9, 3])
    ]

    held = naive(load_pipeline(str(file)), ones)["Last"]

    assert sorted((row["key"], row["value"]) for row in held) == [(0, 7), (3, 9), (9, 8)]


@pytest.mark.parametrize("seed", range(300, 312))
def test_of_any_graph_each_keyed_operator_and_window_is_shown(seed):
    pipeline = random_pipeline(seed)
    with mode.running("interpreted"):
        engine = make(pipeline)
        run_engine(engine, frames(random_steps(seed, pipeline, 40)))
        tables = tables_of(engine)

    shown = {name.partition(" ")[0] for name in tables}
    for number, node in enumerate(pipeline.nodes):
        index = engine.arrays.get(f"n{number}_index")
        if index is not None and f"n{number}_state" in engine.arrays:
            name = node.name if node.name in tables else f"{node.name} n{number}"
            assert tables[name].num_rows == index[COUNT]
        elif index is not None and isinstance(node, Aggregating):
            assert node.name in shown


# --- a venue's book ---------------------------------------------------------------------------


def venue_pipeline():
    feed = mk.source("itch")
    return ot.Pipeline(top=feed.top_of_book(), vwap=mk.vwap(feed.trades(), width="10ms"))


@pytest.fixture(scope="module")
def venue(tmp_path_factory):
    folder = tmp_path_factory.mktemp("venue")
    write_file(folder / "day.itch", seed=3, instruments=4, seconds=0.5, messages_per_s=3000)
    file = open_itch(folder / "day.itch", chunk_bytes=4096)
    payloads = [bytes(payload) for _, payload in file]
    messages = list(messages_of(b"".join(payloads)))
    tape = make_tape(folder / "tape", venue_pipeline(), payloads, file.midnight_ns, saves=(3, 6))
    return messages, file.midnight_ns, tape


def messages_of(data):
    """(ns since midnight, the message with its length)."""
    at = 0
    while at < len(data):
        size = 2 + struct.unpack_from(">H", data, at)[0]
        yield int.from_bytes(data[at + 7 : at + 13], "big"), data[at : at + size]
        at += size


@pytest.mark.parametrize("place", [0, 40, 333, 700, 1100, 1350])
def test_the_book_at_a_time_of_day(venue, place):
    messages, midnight_ns, tape = venue
    since_ns = messages[place][0] if place else 0
    seconds, ns = divmod(since_ns, 10**9)
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{ns:09d}"

    found = rows_of(ot.state_at(venue_pipeline(), tape, time=clock))

    some = [message for ts, message in messages if ts <= since_ns]
    assert found == naive(venue_pipeline(), some, midnight_ns)
    if place > 300:
        best = [row for row in found["Book"] if row["level"] == 1]
        assert len(best) == 4 and all(row["symbol"] for row in best)
        assert all(row["bid_price_ticks"] < row["ask_price_ticks"] for row in best)
