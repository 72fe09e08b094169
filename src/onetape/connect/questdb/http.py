"""A QuestDB server over HTTP: its SQL, and answers as Arrow, a block at a time.

An answer is read as text (`/exp`), typed by what `/exec` says of its columns, so times keep their
nanoseconds, decimals their digits, and an answer may be larger than memory.
"""

import base64
import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

from onetape.connect.sinks.outbox import secret
from onetape.records import OperatorError

TIMEOUT_S = 10.0
READING = ("select", "with", "explain", "show", "declare")
_ARROW = {
    "BOOLEAN": "bool_",
    "BYTE": "int8",
    "SHORT": "int16",
    "INT": "int32",
    "LONG": "int64",
    "FLOAT": "float32",
    "DOUBLE": "float64",
}


class Server:
    """A server at 'HOST:PORT', or 'https://HOST:PORT'.

    login  'env:NAME' (or the text itself): 'USER:PASSWORD', or a token

    OperatorError: no such address. Calls raise OSError where nobody answers, and OperatorError with
    what the server said.
    """

    def __init__(self, address: str, login: str = "") -> None:
        scheme, host, port = parse(address)
        self.scheme, self.host, self.port = scheme, host, port
        self.address = f"{host}:{port}"
        self.user = self.password = self.token = ""
        if login:
            self.user, colon, self.password = secret(login, "questdb").partition(":")
            if not colon:
                self.token, self.user = self.user, ""

    def execute(self, sql: str, rows_max: int | None = None) -> dict[str, Any]:
        """What /exec answers: its `columns` and `dataset`, where it is a query."""
        options = {} if rows_max is None else {"limit": str(rows_max)}
        with self._asked("exec", {"query": sql, **options}) as answer:
            made: dict[str, Any] = json.load(answer)
        return made

    @contextmanager
    def answer(self, sql: str) -> Iterator[Any]:
        """A pyarrow RecordBatchReader of the answer to one query that reads."""
        first = sql.split(None, 1)[0].lower() if sql.strip() else "nothing"
        if first not in READING:
            raise OperatorError(
                f"a query begins with {', '.join(w.upper() for w in READING)}; was {first}"
            )
        try:
            schema = schema_of(self.execute(sql, 1)["columns"])
            with self._asked("exp", {"query": sql}) as text:
                yield _typed(text, schema)
        except OSError as why:
            raise OperatorError(f"no QuestDB answers at {self.address}: {why}") from None

    @contextmanager
    def _asked(self, path: str, options: dict[str, str]) -> Iterator[Any]:
        import urllib.request as web
        from urllib.error import HTTPError, URLError

        url = f"{self.scheme}://{self.address}/{path}?{urlencode(options)}"
        request = web.Request(url)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        elif self.user:
            pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            request.add_header("Authorization", f"Basic {pair}")
        try:
            answer = web.urlopen(request, timeout=TIMEOUT_S)
        except HTTPError as error:
            with error:
                raise OperatorError(f"QuestDB at {self.address} says: {_said(error)}") from None
        except URLError as error:
            raise OSError(str(error.reason)) from None
        with answer:
            yield answer


def parse(address: str) -> tuple[str, str, int]:
    """(scheme, host, port) of 'HOST:PORT' or 'http://HOST:PORT' or 'https://HOST:PORT'."""
    parts = urlsplit(address if "//" in address else f"http://{address}")
    try:
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and bool(parts.port)
        is_one = is_one and parts.path in ("", "/") and not (parts.query or "@" in parts.netloc)
    except ValueError:  # of its port
        is_one = False
    if not is_one:
        raise OperatorError(
            f"questdb was given {address!r}; expected 'HOST:PORT' or 'https://HOST:PORT', the port "
            "being that of HTTP (9000)"
        )
    return parts.scheme, str(parts.hostname), int(parts.port or 0)


def schema_of(columns: list[dict[str, Any]]) -> Any:
    """The Arrow schema of what /exec says of columns; types without one are texts."""
    pa = importlib.import_module("pyarrow")
    fields = []
    for each in columns:
        name, kind = each["name"], str(each["type"])
        if kind in _ARROW:
            made = getattr(pa, _ARROW[kind])()
        elif kind == "TIMESTAMP_NS":
            made = pa.timestamp("ns", "UTC")
        elif kind == "TIMESTAMP":
            made = pa.timestamp("us", "UTC")
        elif kind == "DATE":
            made = pa.timestamp("ms", "UTC")
        elif kind.startswith("DECIMAL("):
            precision, scale = kind[len("DECIMAL(") : -1].split(",")
            made = (
                pa.decimal128(int(precision), int(scale)) if int(precision) <= 38 else pa.string()
            )
        else:
            made = pa.string()
        fields.append(pa.field(name, made))
    return pa.schema(fields)


def _typed(text: Any, schema: Any) -> Any:
    """Batches of comma-separated values of this schema, as they come."""
    pa, csv = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.csv")
    converted = csv.ConvertOptions(
        column_types=schema, strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    parsed = csv.ParseOptions(newlines_in_values=True)
    try:
        return csv.open_csv(text, parse_options=parsed, convert_options=converted)
    except pa.ArrowInvalid as why:
        if "Empty CSV" in str(why):
            return pa.RecordBatchReader.from_batches(schema, [])
        raise OperatorError(f"an answer of QuestDB could not be read: {why}") from None


def _said(error: Any) -> str:
    """The server's own words, where it has some."""
    body = error.read().decode(errors="replace").strip()
    try:
        told = json.loads(body)
        return str(told.get("error") or told.get("message") or body)
    except ValueError:
        return body.splitlines()[0] if body else f"status {error.code}"
