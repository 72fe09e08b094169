"""Where the brokers are, who we are, and what librdkafka is told besides.

From the environment, as a service is given its secrets:

    ONETAPE_KAFKA_USER, ONETAPE_KAFKA_PASSWORD     SASL
    ONETAPE_KAFKA_SASL                             PLAIN, SCRAM-SHA-256 (default) or SCRAM-SHA-512
    ONETAPE_KAFKA_CA                               a PEM file: TLS, the brokers' certificates by it
    ONETAPE_KAFKA_CERT, ONETAPE_KAFKA_KEY          our own certificate and key (PEM files)
    ONETAPE_KAFKA_TLS=1                            TLS by the machine's own authorities

From a file (`--kafka-options FILE`): lines `name = value` with librdkafka's names; they win. A
value `env:NAME` is that of the variable.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onetape.connect.sinks.outbox import secret
from onetape.records import OperatorError

RECORD_MAX_BYTES = 8 << 20
PREFIX = "ONETAPE_KAFKA_"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

# What goes wrong is said in one line (errors.py); the library's own words go nowhere.
_LOGGER = logging.getLogger("onetape.kafka")
_LOGGER.addHandler(logging.NullHandler())
_LOGGER.propagate = False
_EVERY = {
    "client.id": "onetape",
    "log_level": 0,
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 500,
    "topic.metadata.refresh.interval.ms": 10_000,
    "topic.metadata.refresh.fast.interval.ms": 50,
}
PRODUCER = {
    "enable.idempotence": True,
    "linger.ms": 0,  # a record is a block: there is nothing to wait for
    "message.max.bytes": RECORD_MAX_BYTES,
    "queue.buffering.max.kbytes": 64 << 10,
    "message.timeout.ms": 60_000,
    "partitioner": "murmur2_random",  # by key as Java's clients do
    "retry.backoff.ms": 20,
}
CONSUMER = {
    "enable.auto.commit": False,
    "isolation.level": "read_committed",
    "auto.offset.reset": "error",  # what retention removed is a loss, not a new beginning
    "enable.partition.eof": True,
    "fetch.message.max.bytes": RECORD_MAX_BYTES,
    "fetch.max.bytes": 32 << 20,
    "receive.message.max.bytes": 64 << 20,
    "queued.max.messages.kbytes": 64 << 10,
    "fetch.queue.backoff.ms": 5,
    "fetch.error.backoff.ms": 50,
    "session.timeout.ms": 10_000,
    "heartbeat.interval.ms": 500,
}


@dataclass(frozen=True)
class Settings:
    """`brokers` as HOST:PORT,HOST:PORT; `options` in librdkafka's names, stronger than ours.

    A printed one shows no secrets.
    """

    brokers: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def producer(self, **more: Any) -> dict[str, Any]:
        return self._of(PRODUCER, more)

    def consumer(self, **more: Any) -> dict[str, Any]:
        return self._of(CONSUMER, more)

    def admin(self) -> dict[str, Any]:
        return self._of({}, {})

    def _of(self, kind: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
        own = {name.replace("_", "."): value for name, value in more.items()}
        first = {"bootstrap.servers": self.brokers, "logger": _LOGGER}
        found = {**first, **_EVERY, **kind, **own, **self.options}
        return {name: value for name, value in found.items() if _is_for(name, kind)}


def settings(
    brokers: str,
    options: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Settings from the environment and a file of options.

    OperatorError: an address that is none, a file that cannot be read, a line that says nothing.
    """
    for address in brokers.split(","):
        host, _, port = address.strip().rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 1 << 16):
            raise OperatorError(f"brokers were {brokers!r}; expected HOST:PORT, more with commas")
    known = os.environ if environment is None else environment
    found = _from_environment({n.removeprefix(PREFIX): v for n, v in known.items()
                               if n.startswith(PREFIX)})  # fmt: skip
    if options is not None:
        found |= _from_file(options)
    return Settings(brokers.replace(" ", ""), found)


def _from_environment(known: Mapping[str, str]) -> dict[str, Any]:
    user, password = known.get("USER"), known.get("PASSWORD")
    has_tls = bool(known.get("CA") or known.get("CERT") or known.get("TLS", "") not in ("", "0"))
    if (user is None) != (password is None):
        raise OperatorError(f"give both {PREFIX}USER and {PREFIX}PASSWORD, or none of them")
    if bool(known.get("CERT")) != bool(known.get("KEY")):
        raise OperatorError(f"give both {PREFIX}CERT and {PREFIX}KEY, or none of them")
    found: dict[str, Any] = {}
    if user is not None or has_tls:
        found["security.protocol"] = ("SASL_" if user is not None else "") + (
            "SSL" if has_tls else "PLAINTEXT"
        )
    if user is not None:
        mechanism = known.get("SASL", "SCRAM-SHA-256")
        if mechanism not in MECHANISMS:
            expected = ", ".join(MECHANISMS)
            raise OperatorError(f"{PREFIX}SASL was {mechanism!r}; expected one of {expected}")
        found |= {"sasl.mechanism": mechanism, "sasl.username": user, "sasl.password": password}
    for name, option in (
        ("CA", "ssl.ca.location"),
        ("CERT", "ssl.certificate.location"),
        ("KEY", "ssl.key.location"),
    ):
        if known.get(name):
            if not Path(known[name]).is_file():
                raise OperatorError(f"{PREFIX}{name} was {known[name]!r}, which is no file")
            found[option] = known[name]
    return found


def _from_file(path: Path) -> dict[str, Any]:
    try:
        lines = path.read_text().splitlines()
    except OSError as why:
        raise OperatorError(f"cannot read --kafka-options {path}: {why.strerror}") from None
    found = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals:
            raise OperatorError(f"{path}:{number}: {text!r}; expected NAME = VALUE")
        found[name.strip()] = secret(value.strip(), f"{path}:{number}: {name.strip()}")
    return found


# Options of the file go to each client they are for: librdkafka refuses to mix them silently.
_OF_CONSUMERS = (
    "auto.offset.", "enable.auto.", "enable.partition.eof", "fetch.", "group.", "heartbeat.",
    "isolation.", "max.poll.", "partition.assignment.", "queued.", "session.", "check.crcs",
)  # fmt: skip
_OF_PRODUCERS = (
    "acks", "batch.", "compression.", "enable.idempotence", "linger.", "message.timeout.",
    "partitioner", "queue.buffering.", "request.required.", "retries", "sticky.", "transaction",
    "delivery.", "message.send.",
)  # fmt: skip


def _is_for(name: str, kind: Mapping[str, Any]) -> bool:
    if kind is not CONSUMER and name.startswith(_OF_CONSUMERS):
        return False
    return kind is PRODUCER or not name.startswith(_OF_PRODUCERS)
