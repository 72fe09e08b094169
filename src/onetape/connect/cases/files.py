"""A case as a folder: `case.json`, and the events of each source as Parquet.

    desk-a/spoof-1767623401238886220-0-0-41-0-0/case.json, fix.parquet, itch.parquet

The folder appears whole under its name, or not at all. What is in it depends on the tape alone.
"""

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from onetape.codecs.feed import symbol_of
from onetape.connect.arrow import arrow_table, flag_words, symbol_at
from onetape.connect.cases.making import Case, Maker, told
from onetape.connect.sinks.taking import Output
from onetape.engine.graph import Source
from onetape.records import OperatorError
from onetape.records.market import OwnOrder

CASE = "case.json"
LETTERS = ("side", "action", "kind")


def read_case(path: Path) -> dict[str, Any]:
    """The document of a case; OperatorError: it is none."""
    try:
        found = json.loads((path / CASE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as why:
        raise OperatorError(f"{path} is no case: {why}") from None
    return dict(found)


def is_there(path: Path, *, complete: bool) -> bool:
    """Was this case written before, no less complete?"""
    if not (path / CASE).exists():
        return False
    return not complete or bool(read_case(path)["is_complete"])


def write_case(path: Path, document: dict[str, Any], case: Case, maker: Maker) -> None:
    """Make the folder of a case. OSError: it could not be written; nothing is left behind."""
    import pyarrow.parquet as pq

    beside, before = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.old")
    for left in (beside, before):
        shutil.rmtree(left, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        for source in maker.sources:
            rows, symbols = case.evidence[source.name], _symbols(source, maker)
            table = arrow_table(source.of, rows, symbols)
            pq.write_table(table, beside / f"{source.name}.parquet", compression="zstd")
        with open(beside / CASE, "w", encoding="utf-8") as file:
            file.write(json.dumps(document, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.rename(path, before)
        os.rename(beside, path)
        shutil.rmtree(before, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def document_of(name: str, queue: str, output: Output, case: Case, maker: Maker) -> dict[str, Any]:
    """What `case.json` says."""
    tick = output.tick or "1"
    word, account = told(case, "symbol_word"), told(case, "account_id")
    symbol = symbol_of(word) if word is not None else ""
    if case.cause is not None and not symbol and (case.cause[0].feed == "itch"):
        symbol = symbol_at(maker.symbols()[case.cause[0].name], int(case.cause[1]["instrument_id"]))
    return {
        "case": name,
        "queue": queue,
        "output": output.name,
        "record": output.of.__name__,
        "opened": _time(int(case.row["ts_event_ns"])),
        "account": None if account is None else account_name(account),
        "symbol": symbol or None,
        "is_complete": case.is_complete,
        "row": output.dicts(case.row.reshape(1))[0],
        "cause": None if case.cause is None else _event(*case.cause),
        "evidence": {
            "from": _time(case.begin_ns),
            "to": _time(case.end_ns),
            "events": {source.name: len(case.evidence[source.name]) for source in maker.sources},
        },
        "tick": tick,
        "book": {
            feed: {side: _levels(levels) for side, levels in zip(("bids", "asks"), sides)}
            for feed, sides in case.books.items()
        },
    }


def account_name(word: int) -> str:
    """The account whose word that is: of more than eight letters only the hash is known."""
    return f"#{word % (1 << 64):016x}" if word >> 63 & 1 else symbol_of(word)


def _levels(levels: Any) -> list[dict[str, int]]:
    names = ("price_ticks", "qty_lots", "orders_count")
    return [dict(zip(names, level, strict=True)) for level in levels]


def _event(source: Source, row: Any) -> dict[str, Any]:
    """The event in its letters."""
    told_of = Output(source.name, source.of).dicts(row.reshape(1))[0]
    for name in LETTERS:
        if name in told_of:
            told_of[name] = chr(told_of[name])
    if "flags" in told_of:
        told_of["flags"] = flag_words(told_of["flags"])
    return {"source": source.name} | told_of


def _symbols(source: Source, maker: Maker) -> Any:
    """Symbols of a source's instruments; a drop copy says them itself."""
    if source.of is OwnOrder:
        return None
    return maker.symbols().get(source.name)


def _time(ts_ns: int) -> str:
    seconds, rest = divmod(ts_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
