"""The ready questions: DuckDB over Parquet and QuestDB give the same rows."""

import pytest

import onetape as ot
from onetape.cli import main
from onetape.records import DeclarationError, OperatorError
from onetape.runtimes.query.questions import asof, latest_on, sample_by
from onetape.sim.exchange import write_file

pytest.importorskip("duckdb")

BID = "top_of_book.bid_price_ticks AS bid_ticks"
QUESTIONS = {
    "bars": sample_by("trade", "250ms"),
    "some": sample_by("trade", "1s", ["count(*)", "max(qty_lots)"], where="qty_lots > 100"),
    "asof": asof("trade", "top_of_book", ["trade.price_ticks", "trade.output_row AS n", BID]),
    "before": asof("trade", "top_of_book", ["trade.price_ticks", BID], strictly=True),
    "latest": latest_on("top_of_book", ["ts_event", "symbol", "bid_price_ticks", "bid_qty_lots"]),
}


def run_into(folder, address=""):
    write_file(folder / "day.itch", seed=7, instruments=12, seconds=3.0, episodes=1)
    feed = ot.source("itch")
    outputs = {"trade": feed.trades(), "top_of_book": feed.top_of_book()}
    into = {name: stream >> ot.parquet(f"{folder}/out") for name, stream in outputs.items()}
    if address:
        into = {name: stream >> ot.questdb(address) for name, stream in into.items()}
    return ot.run(ot.Pipeline(**into), file=folder / "day.itch", quiet=True)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asked")
    run_into(folder)
    return folder / "out"


def test_bars_are_what_the_rows_say(out):
    answer = ot.query(str(out), sample_by("trade", "1s"))
    starts_ns, bars = plain(answer["ts_event"]), answer.drop(["ts_event"]).to_pylist()
    rows = ot.query(str(out), "SELECT ts_event_ns, symbol, price_ticks, qty_lots FROM trade")
    made = {}
    for row in rows.to_pylist():
        bucket = made.setdefault((row["ts_event_ns"] // 10**9, row["symbol"]), [])
        bucket.append((row["price_ticks"], row["qty_lots"]))

    assert len(bars) == len(made) > 12
    for start_ns, bar in zip(starts_ns, bars, strict=True):
        of = made[start_ns // 10**9, bar["symbol"]]
        prices = [price for price, _ in of]
        assert (bar["open_ticks"], bar["close_ticks"]) == (prices[0], prices[-1])
        assert (bar["high_ticks"], bar["low_ticks"]) == (max(prices), min(prices))
        assert (bar["qty_lots"], bar["rows_count"]) == (sum(lots for _, lots in of), len(of))


def test_both_stores_give_the_same_rows(questdb, tmp_path):
    results = run_into(tmp_path, questdb.address)
    wait_until_seen(questdb, len(results.trade), len(results.top_of_book))

    for name, question in QUESTIONS.items():
        ours = ot.query(str(tmp_path / "out"), question)
        theirs = ot.query(f"questdb:{questdb.address}", question)
        assert theirs.num_rows == ours.num_rows > 0, name
        assert theirs.schema.names == ours.schema.names, name
        for column in ours.schema.names:
            assert plain(theirs[column]) == plain(ours[column]), (name, column)


def plain(column):
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        return column.cast(pa.int64()).to_pylist()
    return column.to_pylist()


def wait_until_seen(questdb, trades, tops):
    from tests.connect.test_questdb import when_seen

    when_seen(questdb, "trade", trades)
    when_seen(questdb, "top_of_book", tops)


def test_on_the_command_line(out, capsys):
    assert main(["query", "--from", str(out), "--sample-by", "trade", "1s", "--csv"]) == 0
    assert capsys.readouterr().out.startswith("ts_event,symbol,open_ticks,high_ticks")
    asked = ["--asof", "trade", "top_of_book", "--columns", f"trade.price_ticks, {BID}"]
    assert main(["query", "--from", str(out), *asked, "--json"]) == 0
    assert '"bid_ticks"' in capsys.readouterr().out
    assert main(["query", "--latest", "trade", "--questdb", "127.0.0.1:1", "--show-sql"]) == 0
    assert capsys.readouterr().out == (
        "SELECT * FROM trade LATEST ON ts_event PARTITION BY symbol ORDER BY symbol\n"
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--sample-by", "trade", "1s", "SELECT 1"], "one question at a time"),
        (["--asof", "trade", "top"], "--asof needs --columns"),
        (["--questdb", "127.0.0.1:1", "--from", ".", "SELECT 1"], "leave out --from"),
        (["--questdb", "127.0.0.1:1", "DELETE FROM x"], "a query begins with SELECT"),
    ],
)
def test_what_cannot_be_asked_on_the_command_line(arguments, message, capsys):
    assert main(["query", *arguments]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "asked, message",
    [
        (lambda: sample_by("trade", "1s", ["median(x)"]), "the function one of first"),
        (lambda: sample_by("trade", "soon"), "not a whole number and a unit"),
        (lambda: sample_by("trade; DROP", "1s"), "a name was"),
        (lambda: asof("trade", "top", ["price_ticks"]), "expected trade.COLUMN or top.COLUMN"),
    ],
)
def test_what_is_no_question(asked, message):
    with pytest.raises((DeclarationError, OperatorError), match=message):
        asked()
