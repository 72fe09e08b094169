"""The peers that are installed give the same answers, on tiny runs. No figure is asserted."""

import numpy as np
import pytest
from bench import peers
from bench.peers import stream


@pytest.fixture(scope="module")
def result():
    return peers.run(share=0.003, seconds=0, rounds=1)


@pytest.mark.slow
def test_nexmark_answers_are_right():
    result = peers.run(share=0.02, seconds=0, rounds=1, suite="bench.nexmark")

    assert result["answer_ok"]
    assert None not in result["engines"]["onetape"].values()


@pytest.mark.parametrize("engine", peers.EVENTS)
def test_an_engine_gives_the_answer(result, engine):
    if engine in result["left_out"].partition(":")[0]:
        assert engine != "onetape"
        pytest.skip(f"{engine} is not installed: pip install 'onetape[peers]'")

    assert result["engines"][engine]["answer_ok"]
    assert result["engines"][engine]["vwap_events_per_s"] > 0


def test_a_wrong_answer_is_reported_and_the_whole_is_wrong(monkeypatch):
    monkeypatch.setattr(peers, "EVENTS", {"onetape": 0.02})
    monkeypatch.setattr(peers, "_answer", lambda suite, work, events: np.zeros((1, 4), np.int64))
    result = peers.run(seconds=0, rounds=1)

    assert not result["engines"]["onetape"]["answer_ok"]
    assert not result["answer_ok"]


def test_the_answer_to_bursts_is_what_the_rule_says_event_by_event():
    cancels = stream.cancels(20_000)
    recent, ends_us, opened = {}, {}, []
    for ts_us, instrument in zip(cancels.ts_us.tolist(), cancels.instrument.tolist()):
        kept = [t for t in recent.get(instrument, []) if t >= ts_us - stream.WITHIN_US] + [ts_us]
        recent[instrument] = kept
        if len(kept) > stream.MORE_THAN:
            if ts_us >= ends_us.get(instrument, 0):
                opened.append((ts_us, instrument))
            ends_us[instrument] = ts_us + stream.WITHIN_US

    assert len(opened) > 10
    assert np.array_equal(stream.bursts_answer(cancels), opened)
