"""Where the NATS server is, and who we are: the environment says it, as to any service.

    ONETAPE_NATS_USER, ONETAPE_NATS_PASSWORD   a name and its password
    ONETAPE_NATS_TOKEN                         or a token
    ONETAPE_NATS_CA                            a PEM file: TLS, the server's certificate by it
    ONETAPE_NATS_CERT, ONETAPE_NATS_KEY        our own certificate and key (PEM files)

An address tls://HOST:PORT is TLS by the machine's own authorities.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from onetape.records import OperatorError

PREFIX = "ONETAPE_NATS_"


@dataclass(frozen=True)
class Settings:
    """`url` as nats://HOST:PORT, more with commas; `options` as nats-py's connect takes them.

    A printed one shows no secrets.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def servers(self) -> list[str]:
        return [one.strip() for one in self.url.split(",")]


def settings(url: str, environment: Mapping[str, str] | None = None) -> Settings:
    """OperatorError: an address that is none, half of a pair, a file that is not there."""
    check(url)
    known = os.environ if environment is None else environment
    given = {name: known.get(PREFIX + name, "") for name in
             ("USER", "PASSWORD", "TOKEN", "CA", "CERT", "KEY")}  # fmt: skip
    for one, other in (("USER", "PASSWORD"), ("CERT", "KEY")):
        if bool(given[one]) != bool(given[other]):
            raise OperatorError(f"give both {PREFIX}{one} and {PREFIX}{other}, or none of them")
    if given["USER"] and given["TOKEN"]:
        raise OperatorError(f"give {PREFIX}USER or {PREFIX}TOKEN, not both")
    options: dict[str, Any] = {}
    if given["USER"]:
        options |= {"user": given["USER"], "password": given["PASSWORD"]}
    if given["TOKEN"]:
        options["token"] = given["TOKEN"]
    if given["CA"] or given["CERT"]:
        options["tls"] = _tls(given)
    return Settings(url, options)


def check(url: str, error: type[Exception] = OperatorError) -> None:
    """Refuse what is no address."""
    for one in url.split(","):
        try:
            parts = urlsplit(one.strip())
            is_one = parts.scheme in ("nats", "tls") and bool(parts.hostname) and bool(parts.port)
        except ValueError:  # of its port
            is_one = False
        if not is_one or "@" in parts.netloc:
            raise error(
                f"nats was given {one.strip()!r}; expected nats://HOST:PORT or tls://HOST:PORT; "
                f"names and passwords go into {PREFIX}USER, {PREFIX}PASSWORD or {PREFIX}TOKEN"
            )


def check_name(stream: str, error: type[Exception] = OperatorError) -> None:
    if not stream or any(char in " .*>/\\" or not char.isprintable() for char in stream):
        raise error(f"a stream was {stream!r}; expected a name without spaces, dots, * > / \\")


def _tls(given: Mapping[str, str]) -> Any:
    import ssl

    for name in ("CA", "CERT", "KEY"):
        if given[name] and not Path(given[name]).is_file():
            raise OperatorError(f"{PREFIX}{name} was {given[name]!r}, which is no file")
    try:
        context = ssl.create_default_context(cafile=given["CA"] or None)
        if given["CERT"]:
            context.load_cert_chain(given["CERT"], given["KEY"])
    except ssl.SSLError as why:
        raise OperatorError(f"{PREFIX}CA, CERT or KEY holds no certificate or key: {why}") from None
    return context
