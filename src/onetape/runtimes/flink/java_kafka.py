"""Who we are to the brokers, in the words of Java's clients; `Settings` has librdkafka's.

Certificates and keys go along as text: a task may run where the files are not.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onetape.records import OperatorError

# The connector has Kafka's classes under a name of its own.
SHADED = "org.apache.flink.kafka.shaded.org.apache.kafka"
_LOGIN = {
    "PLAIN": f"{SHADED}.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": f"{SHADED}.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": f"{SHADED}.common.security.scram.ScramLoginModule",
}
_TEXT_OF = {
    "ssl.ca.location": ("ssl.truststore.certificates", "ssl.truststore.type"),
    "ssl.certificate.location": ("ssl.keystore.certificate.chain", "ssl.keystore.type"),
    "ssl.key.location": ("ssl.keystore.key", "ssl.keystore.type"),
}
_SAME = ("security.protocol", "ssl.endpoint.identification.algorithm", "client.id")
_USED = ("sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password")


def java_properties(options: Mapping[str, Any]) -> dict[str, str]:
    """The properties of a Java client. OperatorError: an option that has none here."""
    found = {name: str(options[name]) for name in _SAME if name in options}
    for name, (text, kind) in _TEXT_OF.items():
        if name in options:
            found |= {text: Path(options[name]).read_text(), kind: "PEM"}
    if "sasl.username" in options:
        mechanism = options.get("sasl.mechanism") or options.get("sasl.mechanisms") or "PLAIN"
        if mechanism not in _LOGIN:
            raise OperatorError(
                f"sasl.mechanism was {mechanism!r}; Flink takes {', '.join(_LOGIN)}"
            )
        user, password = (_quoted(options[f"sasl.{name}"]) for name in ("username", "password"))
        login = f"{_LOGIN[mechanism]} required username={user} password={password};"
        found |= {"sasl.mechanism": mechanism, "sasl.jaas.config": login}
    known = {*_SAME, *_TEXT_OF, *_USED}
    if odd := sorted(set(options) - known):
        raise OperatorError(
            f"{odd[0]} is an option of librdkafka, which Flink does not use; leave it out with "
            "--on flink"
        )
    return found


def _quoted(text: Any) -> str:
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"'
