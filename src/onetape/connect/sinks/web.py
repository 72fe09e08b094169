"""Rows to other programs: a line of JSON each over TCP, or a POST to a web address."""

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

    TCP does not say what the other side has read: after a broken connection rows may come again,
    with the same `key`.
    """

    address: str
    waits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        host, colon, port = self.address.rpartition(":")
        if not (colon and host and port.isascii() and port.isdigit()):
            raise DeclarationError(f"tcp was given {self.address!r}; expected 'HOST:PORT'")

    def open(self, output: Output) -> Taker:
        from onetape.connect.sinks.outbox import Outbox

        host, _, port = self.address.rpartition(":")
        line = _Connection(host, int(port))
        return Outbox(output, line.deliver, f"tcp {self.address}", line.hang_up)


class _Connection:
    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._socket: Any = None

    def deliver(self, batch: list[tuple[str, bytes]]) -> list[str]:
        try:
            if self._socket is None:
                import socket

                self._socket = socket.create_connection(self._address, TIMEOUT_S)
            self._socket.sendall(b"".join(line + b"\n" for _, line in batch))
        except OSError:
            self.hang_up()
            raise
        return []

    def hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None


@dataclass(frozen=True)
class WebhookSink(OpenableSink):
    """A POST of JSON a row. `"env:NAME"` names an address that is a secret.

    ```python
    pipeline = ot.Pipeline(trade=trades >> ot.webhook("env:DESK_URL"))
    ```

    A POST a row: JSON, with its key also as the header `Idempotency-Key`. A status of 5xx, 408 or
    429 and a failing connection are tried again; any other refusal is counted and passed over.
    """

    url: str
    waits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.url.startswith("env:"):
            _checked(self.url, DeclarationError)

    def open(self, output: Output) -> Taker:
        from onetape.connect.sinks.outbox import Outbox, secret

        url = secret(self.url, "webhook")
        _checked(url, OperatorError)
        named = self.url if self.url.startswith("env:") else urlsplit(url).netloc
        return Outbox(output, _Posts(url).deliver, f"webhook {named}")


class _Posts:
    def __init__(self, url: str) -> None:
        self._url = url
        self._taken = 0  # of a batch that failed midway
        self._refused: list[str] = []

    def deliver(self, batch: list[tuple[str, bytes]]) -> list[str]:
        for key, body in batch[self._taken :]:
            reason = self._post(key, body)
            self._refused += [reason] if reason else []
            self._taken += 1
        refused, self._taken, self._refused = self._refused, 0, []
        return refused

    def _post(self, key: str, body: bytes) -> str:
        """Why it was refused for good, or ""."""
        import urllib.error  # loads what speaks HTTP and TLS
        import urllib.request

        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        request = urllib.request.Request(self._url, data=body, headers=headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                answer.read(1)
                return ""
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 and error.code not in (408, 429):
                return f"status {error.code} {error.reason}"
            raise OSError(f"status {error.code} {error.reason}") from None
        except urllib.error.URLError as error:
            raise OSError(str(error.reason)) from None


def _checked(url: str, error: type[Exception]) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise error(f"webhook was given {url!r}; expected 'https://HOST/...' or 'env:NAME'")
