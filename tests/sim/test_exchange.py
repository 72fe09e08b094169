"""The simulated exchange: the bytes follow from the seed, and a naive exchange agrees with each."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.naive.exchange_book import bursts, messages, replay

from onetape.compiled import mode
from onetape.records import OperatorError
from onetape.sim import generate, simulate, write_file
from onetape.sim.exchange_options import ExchangeOptions
from onetape.sim.exchange_setup import alias_table, new_exchange

TINY = {"seed": 3, "instruments": 3, "seconds": 0.4, "messages_per_s": 2000.0, "episodes": 1}
TINY_SHA256 = "64c63ae14d6d5b7963962c52228be70667eaf6b3b9ae1c20d8149aaeca73e176"

settings_of_days = st.fixed_dictionaries(
    {
        "seed": st.integers(-(2**63), 2**63 - 1),
        "instruments": st.sampled_from([1, 2, 7, 40]),
        "seconds": st.sampled_from([0.5, 1.0]),
        "messages_per_s": st.sampled_from([100.0, 2000.0, 6000.0]),
        "episodes": st.integers(0, 2),
    }
)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_the_bytes_of_a_tiny_day_are_pinned():
    """Another value on some platform, or after a change: the file is not what it was."""
    assert sha256(simulate(**TINY).data) == TINY_SHA256


def test_another_seed_is_another_day():
    digests = {sha256(simulate(**TINY | {"seed": seed}).data) for seed in (0, 1, -1, 2**63 - 1)}

    assert len(digests) == 4


def test_plain_python_makes_the_same_day():
    with mode.running("interpreted"):
        interpreted = simulate(**TINY)
    compiled = simulate(**TINY)

    assert sha256(interpreted.data) == sha256(compiled.data)
    assert interpreted.labels == compiled.labels
    assert interpreted.counts == compiled.counts


@pytest.mark.slow
def test_with_bounds_checks_it_makes_the_same_day():
    with mode.running("boundscheck"):
        checked = simulate(seconds=2.0)

    assert sha256(checked.data) == sha256(simulate(seconds=2.0).data)


@given(settings_of_days, st.integers(320, 5000))
@settings(max_examples=15)
def test_any_size_of_chunks_gives_the_same_bytes(options, chunk_bytes):
    whole = simulate(**options)

    chunks = generate(**options, chunk_bytes=chunk_bytes)
    pieces = list(chunks)

    assert b"".join(piece.tobytes() for piece in pieces) == whole.data.tobytes()
    assert max(len(piece) for piece in pieces) <= chunk_bytes
    assert (chunks.labels, chunks.counts) == (whole.labels, whole.counts)


@given(settings_of_days)
@settings(max_examples=15)
def test_a_naive_exchange_accepts_every_message(options):
    day = simulate(**options)

    books, counts, most = replay(day.data)

    assert counts == day.counts
    assert len(books) == options["instruments"]
    limits = new_exchange(day.options).market.sides["flow_max"].reshape(-1, 2).sum(axis=1)
    for locate, orders in most.items():
        assert orders <= limits[locate - 1] + 1


@given(settings_of_days)
@settings(max_examples=15)
def test_a_naive_detector_finds_the_labelled_episodes_and_nothing_else(options):
    day = simulate(**options)

    found = bursts(day.data)

    labelled = [
        (e.instrument_id, e.first_cancel_ts_ns, e.sixth_cancel_ts_ns, e.last_ts_ns, e.cancels)
        for e in day.labels
    ]
    assert sorted(found) == sorted(labelled)
    assert len(found) == options["episodes"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"seed": 1, "instruments": 5, "seconds": 3.0, "messages_per_s": 50_000.0, "episodes": 60},
        {"seed": 2, "instruments": 1, "seconds": 5.0, "messages_per_s": 20_000.0, "episodes": 20},
        {"seed": 3, "instruments": 400, "seconds": 5.0, "episodes": 2000},
    ],
    ids=["busy", "one", "many"],
)
def test_longer_days_hold_too(options):
    """Also where the flow is asked for far more than it may cancel."""
    day = simulate(**options)

    _, counts, _ = replay(day.data)
    found = bursts(day.data)

    assert counts == day.counts
    assert sorted(burst[0] for burst in found) == sorted(e.instrument_id for e in day.labels)
    assert sorted(burst[3] for burst in found) == sorted(e.last_ts_ns for e in day.labels)
    assert len(found) == options["episodes"]


def test_episodes_are_what_their_labels_say():
    day = simulate(seconds=2.0, instruments=4, episodes=32)
    by_instrument = {}
    for letter, locate, ts_ns, _ in messages(day.data):
        by_instrument.setdefault(locate, []).append((ts_ns, letter))
    ends = {}

    for e in day.labels:
        cancels = [
            ts_ns
            for ts_ns, letter in by_instrument[e.instrument_id]
            if letter in "DXU" and e.first_ts_ns - 10_000_000 <= ts_ns <= e.last_ts_ns + 10_000_000
        ]
        assert 20 <= e.cancels <= 200 and len(cancels) == e.cancels
        assert cancels[0] == e.first_cancel_ts_ns and cancels[-1] == e.last_ts_ns
        assert (e.first_ts_ns, "A") in by_instrument[e.instrument_id] or (
            e.first_ts_ns,
            "F",
        ) in by_instrument[e.instrument_id]
        assert max(np.array(cancels[5:]) - np.array(cancels[:-5])) <= 10_000_000
        assert e.first_ts_ns - ends.get(e.instrument_id, 0) >= 100_000_000
        assert e.last_ts_ns <= day.options.duration_ns + 34_200 * 10**9 - 50_000_000
        assert e.last_ts_event_ns - e.first_ts_event_ns == e.last_ts_ns - e.first_ts_ns
        ends[e.instrument_id] = e.last_ts_ns
    assert len(day.labels) == 32 == day.options.episodes_max


def test_the_mix_is_that_of_equities():
    day = simulate(instruments=200, seconds=20.0, episodes=0)
    trading = {letter: n for letter, n in day.counts.items() if letter not in "SRH"}
    total = sum(trading.values())
    share = {letter: 100 * n / total for letter, n in trading.items()}

    assert 41 < share["A"] + share["F"] < 46
    assert 37 < share["D"] < 42
    assert 6 < share["U"] < 8
    assert 4 < share["E"] < 6
    assert 1 < share["X"] < 2
    assert 0 < share["C"] < 1
    assert 0 < share["P"] < 2.5
    assert 0 < share["F"] < 3
    assert total == pytest.approx(200 * 50 * 20, rel=0.05)


def test_activity_is_uneven_and_arrivals_come_in_bursts():
    day = simulate(instruments=100, seconds=5.0, episodes=0)
    times = np.array([ts for letter, _, ts, _ in messages(day.data) if letter not in "SRH"])
    per_instrument = np.bincount([n for letter, n, _, _ in messages(day.data) if letter == "A"])[1:]

    gaps = np.diff(times)

    assert per_instrument.max() > 5 * np.median(per_instrument) / 2
    assert gaps.std() > 2 * gaps.mean()
    assert times[0] >= 34_200 * 10**9


@pytest.mark.parametrize("instruments", [1, 8000])
def test_from_one_instrument_to_all(instruments):
    day = simulate(instruments=instruments, seconds=0.3, messages_per_s=9000.0, episodes=1)

    books, _, _ = replay(day.data)

    assert len({book.symbol for book in books.values()}) == instruments
    assert {e.symbol.encode().ljust(8) for e in day.labels} <= {b.symbol for b in books.values()}


@given(st.lists(st.integers(1, 2**40), min_size=1, max_size=50))
def test_the_alias_table_keeps_every_weight(weights):
    share, alias = alias_table(weights)
    kept = [0] * len(weights)
    for i, part in enumerate(share.tolist()):
        kept[i] += part
        kept[alias[i]] += 2**32 - part

    for weight, part in zip(weights, kept):
        assert abs(part / 2**32 / len(weights) - weight / sum(weights)) < 2**-31


BAD = [
    ({"instruments": 0}, "instruments was 0; expected a whole number, 1 to 8000"),
    ({"instruments": 8001}, "instruments was 8001"),
    ({"instruments": 2.0}, "instruments was 2.0"),
    ({"seed": 2**63}, "seed was 9223372036854775808"),
    ({"seed": True}, "seed was True"),
    ({"seconds": 0.0}, "seconds was 0.0"),
    ({"seconds": float("nan")}, "seconds was nan"),
    ({"seconds": 23_401}, "expected a number, 0.001 to 23400"),
    ({"messages_per_s": 0.0}, "messages_per_s was 0.0"),
    ({"messages_per_s": "fast"}, "messages_per_s was 'fast'"),
    ({"episodes": -1}, "episodes was -1"),
    ({"episodes": 1, "seconds": 0.2}, "room for 0 .* at least 0.22 s"),
    ({"episodes": 801, "instruments": 100, "seconds": 2.0}, "room for 800 .* at least 2.22 s"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_a_bad_option_is_named_with_what_would_do(options, message):
    with pytest.raises(OperatorError, match=message):
        ExchangeOptions(**options)


def test_what_the_message_about_episodes_asks_for_is_enough():
    assert len(simulate(episodes=1, seconds=0.22, instruments=1).labels) == 1
    assert ExchangeOptions(episodes=801, instruments=100, seconds=2.22).episodes_max >= 801


def test_a_file_holds_the_same_bytes(tmp_path):
    day, seen = simulate(**TINY), []

    written = write_file(tmp_path / "a.itch", **TINY, progress=lambda *now: seen.append(now))

    assert (tmp_path / "a.itch").read_bytes() == day.data.tobytes()
    assert (written.sha256, written.size_bytes) == (sha256(day.data), len(day.data))
    assert (written.labels, written.counts) == (day.labels, day.counts)
    assert seen[-1] == (1.0, day.messages)
    assert [path.name for path in tmp_path.iterdir()] == ["a.itch"]


def test_a_run_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.itch"
    path.write_bytes(b"old")

    def stop(_done, _messages):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_file(path, **TINY, progress=stop)

    assert path.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.itch"]
    with pytest.raises(OperatorError, match="is not a folder; make it first"):
        write_file(tmp_path / "no" / "a.itch", **TINY)
    with pytest.raises(OperatorError, match="it is a folder; add the name of a file"):
        write_file(tmp_path, **TINY)


def test_chunks_too_small_for_an_arrival_are_refused():
    with pytest.raises(OperatorError, match="chunk_bytes was 100; expected 320 at least"):
        generate(chunk_bytes=100)
