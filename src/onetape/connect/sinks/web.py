"""Rows to other programs: a line of JSON each over TCP, or a POST to a web address."""

import contextlib
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from onetape.connect.sinks.taking import OpenableSink, Output, Taker
from onetape.records import DeclarationError, OperatorError

TIMEOUT_S = 10.0


@dataclass(frozen=True)
class TcpSink(OpenableSink):
    """A JSON object a line over TCP; connects again when the other side is gone.

    ```python
    pipeline = ot.Pipeline(trade=trades >> ot.tcp("127.0.0.1:9000"))
    ```

    Delivered means: taken by TCP, which does not say what the other side has read. When it hangs up
    or the connection breaks, the last batch (100 rows at most) is sent again with the next one,
    with the same keys; of rows before that batch, and of the last of a run, those that were still
    on their way are lost. Where that must not be, use a webhook: it answers each row.
    """

    address: str
    waits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        host, colon, port = self.address.rpartition(":")
        if not (colon and _is_host(host) and port.isascii() and port.isdigit()):
            raise DeclarationError(f"tcp was given {self.address!r}; expected 'HOST:PORT'")
        if not 0 < int(port) < 1 << 16:
            raise DeclarationError(f"tcp was given port {port}; expected 1 to 65535")

    def open(self, output: Output) -> Taker:
        from onetape.connect.sinks.outbox import Outbox

        host, _, port = self.address.rpartition(":")
        line = _Connection(host, int(port))
        return Outbox(output, line.deliver, f"tcp {self.address}", line.hang_up)


class _Connection:
    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._socket: Any = None
        self._last = b""  # what was sent last, and may not have been read

    def deliver(self, batch: list[tuple[str, bytes]]) -> list[str]:
        import socket

        lines = again = b"".join(line + b"\n" for _, line in batch)
        line = self._socket  # `hang_up` may take it away meanwhile
        try:
            if line is None or not _stands(line):
                self.hang_up()
                line = self._socket = socket.create_connection(self._address, TIMEOUT_S)
                again = self._last + lines
            line.sendall(again)
        except OSError:
            self.hang_up()
            raise
        self._last = lines
        return []

    def hang_up(self) -> None:
        """Close the connection; whoever is sending on it is told by an OSError."""
        line, self._socket = self._socket, None
        if line is not None:
            with contextlib.suppress(OSError):
                line.shutdown(2)  # SHUT_RDWR
            line.close()


def _stands(line: Any) -> bool:
    """Whether the other side has not hung up. What it says is read and dropped."""
    try:
        line.settimeout(0)
        while line.recv(1 << 16):
            pass
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        line.settimeout(TIMEOUT_S)


@dataclass(frozen=True)
class WebhookSink(OpenableSink):
    """A POST of JSON a row. `"env:NAME"` names an address that is a secret.

    ```python
    pipeline = ot.Pipeline(trade=trades >> ot.webhook("env:DESK_URL"))
    ```

    A POST a row: JSON, with its key also as the header `Idempotency-Key`. A status of 5xx, 408 or
    429, a failing connection and an answer that is not HTTP are tried again; any other refusal is
    counted and passed over. Redirects (3xx) are such refusals: they are not followed, because they
    would turn the POST into a GET. Give the address they name.
    """

    url: str
    waits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.url.startswith("env:"):
            _check(self.url, repr(self.url), DeclarationError)

    def open(self, output: Output) -> Taker:
        from onetape.connect.sinks.outbox import Outbox, secret

        url = secret(self.url, "webhook")
        is_secret = self.url.startswith("env:")
        _check(url, f"what {self.url} holds" if is_secret else repr(url), OperatorError)
        named = self.url if is_secret else urlsplit(url).netloc
        return Outbox(output, _Posts(url).deliver, f"webhook {named}", rows_at_once=1)


class _Posts:
    def __init__(self, url: str) -> None:
        import urllib.request as web  # loads what speaks HTTP and TLS

        self._url, self._request = url, web.Request
        self._opener = web.OpenerDirector()  # the usual one, but it follows no redirects
        for handler in (
            web.ProxyHandler,
            web.HTTPHandler,
            web.HTTPSHandler,
            web.HTTPDefaultErrorHandler,
            web.HTTPErrorProcessor,
        ):
            self._opener.add_handler(handler())

    def deliver(self, batch: list[tuple[str, bytes]]) -> list[str]:
        return [reason for key, body in batch if (reason := self._post(key, body))]

    def _post(self, key: str, body: bytes) -> str:
        """Why it was refused for good, or ""."""
        from urllib.error import HTTPError, URLError

        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        request = self._request(self._url, data=body, headers=headers, method="POST")
        try:
            self._opener.open(request, timeout=TIMEOUT_S).close()
            return ""
        except HTTPError as error:
            error.close()
            said = f"status {error.code} {error.reason}"
            if 300 <= error.code < 400:
                return f"{said} to {error.headers.get('Location')}, which is not followed"
            if error.code < 500 and error.code not in (408, 429):
                return said
            raise OSError(said) from None
        except URLError as error:
            raise OSError(str(error.reason)) from None


def _check(url: str, named: str, error: type[Exception]) -> None:
    """Refuse what can never be reached. `named`: the address may be a secret."""
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and _is_host(parts.hostname or "")
        is_one = is_one and url.isascii() and url.isprintable() and " " not in url
        is_one = is_one and parts.port != 0 and "@" not in parts.netloc
    except ValueError:  # of its port, or brackets that do not match
        is_one = False
    if not is_one:
        raise error(
            f"webhook was given {named}; expected 'https://HOST/...' or 'env:NAME': in ASCII, "
            "without a name or password, and if it has a port, one of 1 to 65535"
        )


def _is_host(host: str) -> bool:
    try:
        return bool(host.encode("idna")) and host.isprintable() and " " not in host
    except UnicodeError:
        return False
