"""A feed of some instruments: what these have is the same as in the feed of all."""

import pytest
from tests.engine.running import tuples

import onetape as ot
from onetape.codecs.feed import symbol_of, word_of
from onetape.connect.itch_file import open_itch
from onetape.engine.frames import frames_of
from onetape.records import DeclarationError
from onetape.runtimes import batch
from onetape.sim.exchange import write_file


def pipeline_of(feed):
    return ot.Pipeline(top=feed.top_of_book(), trade=feed.trades())


def rows_of(pipeline, path):
    file, made = open_itch(path), {name: [] for name in pipeline.outputs}
    engine = batch.make_engine(pipeline, midnight_ns=file.midnight_ns)

    def take(name, rows, origins):
        made[name] += tuples(rows)

    batch.run(engine, frames_of(file), take)
    return made, engine


def test_only_some_instruments(tmp_path):
    day = tmp_path / "day.itch"
    write_file(day, seed=3, instruments=8, seconds=1.0, episodes=0)
    everything, engine = rows_of(pipeline_of(ot.source("itch")), day)
    words = engine.feed_state("itch")["symbols"]
    ids = [i for i, word in enumerate(words.tolist()) if word][1:4:2]
    symbols = [symbol_of(int(words[i])) for i in ids]

    some, _ = rows_of(pipeline_of(ot.source("itch").only(*symbols)), day)

    for name, of in (("top", ot.market.TopOfBook), ("trade", ot.market.Trade)):
        at = of._fields.index("instrument_id")
        assert some[name] == [row for row in everything[name] if row[at] in ids] != []


def test_a_symbol_and_its_word():
    assert symbol_of(word_of("AAPL")) == "AAPL"


@pytest.mark.parametrize("given", [(), ("",), ("TOOLONGNAME",), ("ÄÖÜ",), (5,)])
def test_what_is_no_symbol(given):
    with pytest.raises(DeclarationError, match="only was given"):
        ot.source("itch").only(*given)


def test_only_is_the_same_whatever_was_asked_of_the_feed_before():
    feed = ot.source("itch")
    every = (feed.trades(), feed.top_of_book(), feed.events())

    some = feed.only("AAPL")

    for before, after in zip(every, (some.trades(), some.top_of_book(), some.events())):
        assert before.node is not after.node
