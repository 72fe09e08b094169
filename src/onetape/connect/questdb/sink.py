"""Rows to a table of QuestDB: `stream >> ot.questdb("HOST:PORT")`.

Rows leave in order, thousands a request, each request a transaction (the InfluxDB line protocol
over HTTP, which answers when the rows are in the server's log). What a crash of either side leaves
in doubt is sent again, and QuestDB keeps one row for each (time, run, number): exactly once,
whoever dies when. The table is made with the types and the key that this needs; one that is there
and has others is not touched, and the rows wait until it is put right.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from onetape.connect.questdb.columns import KEYS, ROW, RUN, TIME, columns_of, create_table, quoted
from onetape.connect.questdb.http import TIMEOUT_S, Server, parse
from onetape.connect.sinks.taking import OpenableSink, Output, Taker
from onetape.records import DeclarationError, OperatorError

if TYPE_CHECKING:
    from onetape.connect.sinks.rows_outbox import RowsOf

ROWS_AT_ONCE = 20_000


@dataclass(frozen=True)
class QuestdbSink(OpenableSink):
    """Rows into a table of QuestDB, exactly once; the table is made where there is none.

    ```python
    pipeline = ot.Pipeline(trade=trades >> ot.questdb("127.0.0.1:9000", table="trades"))
    ```

    table     its name; else that of the output
    decimals  prices as exact decimals (`price`) instead of whole ticks (`price_ticks`)
    run       a name for what writes, where several write into one table: part of a row's identity
    login     'env:NAME', of a variable that holds USER:PASSWORD, or a token

    Needs `pip install 'onetape[questdb]'`. What the columns are: docs/QUESTDB.md.
    """

    address: str
    table: str = ""
    decimals: bool = False
    run: str = "onetape"
    login: str = ""
    waits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        try:
            parse(self.address)
        except OperatorError as why:
            raise DeclarationError(str(why)) from None
        if not self.run:
            raise DeclarationError("questdb was given run=''; expected a name, such as 'nyse'")

    def open(self, output: Output) -> Taker:
        from onetape.connect.sinks.rows_outbox import RowsOutbox

        client = _client()
        server = Server(self.address, self.login)
        table = self.table or output.name
        writer = _Writer(client, server, table, self.run, columns_of(output, self.decimals))
        named = f"questdb {server.address}/{table}"
        return RowsOutbox(output, writer.deliver, named, rows_at_once=ROWS_AT_ONCE)


def _client() -> Any:
    try:
        import questdb
    except ImportError:
        raise OperatorError(
            "a sink of QuestDB needs its client, which is not installed: "
            "pip install 'onetape[questdb]'"
        ) from None
    return questdb


class _Writer:
    def __init__(self, client: Any, server: Server, table: str, run: str, columns: Any) -> None:
        self._client, self._server, self._table, self._run = client, server, table, run
        self._symbols = [each for each in columns if each.type == "SYMBOL"]
        self._times = {each.name for each in columns if each.type == "TIMESTAMP_NS"}
        self._others = [each for each in columns if each.type != "SYMBOL"]
        self._columns = columns
        self._sender: Any = None

    def deliver(self, batch: "RowsOf") -> list[str]:
        """One request. Returns why rows were refused; raises if none of them was taken."""
        if self._sender is None:
            self._prepare()
            self._sender = self._connected()
        try:
            refused = self._write(batch)
            self._sender.flush(transactional=True)
        except Exception:
            sender, self._sender = self._sender, None  # what was begun is not in it any more
            sender.close(flush=False)
            raise
        return refused

    def _write(self, batch: "RowsOf") -> list[str]:
        row, table, run = self._sender.row, self._table, self._run
        at_ns, refused = self._client.TimestampNanos, []
        names = [each.name for each in self._symbols]
        symbols = zip(*(each.values(batch.rows) for each in self._symbols))
        words = [dict(zip(names, of)) for of in symbols] or [{}] * len(batch)
        others = {each.name: each.values(batch.rows) for each in self._others}
        for name in self._times:
            others[name] = [None if ns is None else at_ns(ns) for ns in others[name]]
        others[ROW] = list(range(batch.first, batch.first + len(batch)))
        named = list(others)
        for ts_ns, of, values in zip(
            batch.rows["ts_event_ns"].tolist(), words, zip(*others.values())
        ):
            if ts_ns < 0:
                refused.append(f"ts_event_ns was {ts_ns}: QuestDB has no time before 1970")
                continue
            columns = dict(zip(named, values))
            row(table, symbols={RUN: run, **of}, columns=columns, at=at_ns(ts_ns))
        return refused

    def _connected(self) -> Any:
        server, of = self._server, self._client
        protocol = of.Protocol.Https if server.scheme == "https" else of.Protocol.Http
        login: dict[str, Any] = {"username": server.user, "password": server.password}
        login["token"] = server.token
        if server.scheme == "https":
            login["tls_ca"] = of.TlsCa.OsRoots
        sender = of.Sender(
            protocol,
            server.host,
            server.port,
            auto_flush=False,
            retry_timeout=0,  # the outbox tries again
            request_timeout=int(TIMEOUT_S * 1000),
            **{name: value for name, value in login.items() if value},
        )
        sender.establish()
        return sender

    def _prepare(self) -> None:
        """Make the table; one that is there gets the columns it lacks."""
        self._server.execute(create_table(self._table, self._columns))
        found = self._server.execute(f"SHOW COLUMNS FROM {quoted(self._table)}")
        place = {each["name"]: n for n, each in enumerate(found["columns"])}
        there = {of[place["column"]]: of for of in found["dataset"]}
        keys = {name for name, of in there.items() if of[place["upsertKey"]]}
        if keys != set(KEYS):
            raise OperatorError(
                f"table {self._table} keeps one row for each {sorted(keys) or 'row sent'}; "
                f"expected DEDUP UPSERT KEYS({', '.join(KEYS)}): name another table=, or drop it"
            )
        wanted = {TIME: "TIMESTAMP_NS", ROW: "LONG"}
        wanted |= {each.name: each.type for each in self._columns}
        for name, kind in wanted.items():
            if name not in there:
                added = f"ADD COLUMN IF NOT EXISTS {quoted(name)} {kind}"
                self._server.execute(f"ALTER TABLE {quoted(self._table)} {added}")
            elif (was := str(there[name][place["type"]])).replace(" ", "") != kind.replace(" ", ""):
                raise OperatorError(
                    f"column {name} of table {self._table} is {was}; expected {kind}: name "
                    "another table=, or drop it"
                )
