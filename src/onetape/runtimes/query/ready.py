"""The ready questions on the command line: which one is asked, and its SQL for the store."""

import argparse
from typing import Any

from onetape.records import OperatorError
from onetape.runtimes.query.questions import BARS, BY, Question, asof, latest_on, sample_by

OPTIONS = ("sample_by", "asof", "latest")


def add_questions(parser: Any) -> None:
    group = parser.add_argument_group("ready questions, instead of SQL: the same of both stores")
    group.add_argument(
        "--sample-by", nargs=2, metavar=("TABLE", "EVERY"), help="bars of rows: trade 1s"
    )
    group.add_argument(
        "--asof",
        nargs=2,
        metavar=("LEFT", "RIGHT"),
        help="each row of LEFT with the row of RIGHT that held then; needs --columns",
    )
    group.add_argument("--latest", metavar="TABLE", help="the last row of each symbol")
    group.add_argument(
        "--columns",
        metavar="LIST",
        help="what to show: 'max(price_ticks) AS high, count(*)' of --sample-by, "
        "'trade.price_ticks, top_of_book.bid_price_ticks AS bid' of --asof, names of --latest",
    )
    group.add_argument("--by", default=BY, metavar="FIELD", help="the key (default: %(default)s)")
    group.add_argument("--strictly", action="store_true", help="of --asof: before its time only")
    group.add_argument("--show-sql", action="store_true", help="print the SQL, and ask nothing")


def question_of(args: argparse.Namespace) -> Question | str | None:
    """What is asked: a ready question, the SQL given, or nothing."""
    named = [name for name in OPTIONS if getattr(args, name)]
    if len(named) + (args.sql is not None) > 1:
        raise OperatorError("one question at a time: SQL, --sample-by, --asof or --latest")
    if not named:
        return str(args.sql) if args.sql is not None else None
    columns = [text.strip() for text in args.columns.split(",")] if args.columns else []
    if args.sample_by:
        table, every = args.sample_by
        return sample_by(table, every, columns or BARS, by=args.by)
    if args.latest:
        return latest_on(args.latest, columns, by=args.by)
    left, right = args.asof
    if not columns:
        raise OperatorError(
            f"--asof needs --columns: '{left}.price_ticks, {right}.bid_price_ticks AS bid'"
        )
    return asof(left, right, columns, by=args.by, strictly=args.strictly)
