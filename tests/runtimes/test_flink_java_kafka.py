"""Secrets and certificates reach Java's Kafka clients under their names there."""

import pytest

from onetape.records import OperatorError
from onetape.runtimes.flink.java_kafka import java_properties


def test_a_password_with_quotes_stays_one():
    found = java_properties(
        {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-256",
            "sasl.username": "desk",
            "sasl.password": 'a"b\\c',
        }
    )
    assert found["security.protocol"] == "SASL_PLAINTEXT"
    assert found["sasl.mechanism"] == "SCRAM-SHA-256"
    assert found["sasl.jaas.config"] == (
        "org.apache.flink.kafka.shaded.org.apache.kafka.common.security.scram.ScramLoginModule "
        'required username="desk" password="a\\"b\\\\c";'
    )


def test_certificates_go_along_as_text(tmp_path):
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text(f"-----BEGIN {name}-----")
    found = java_properties(
        {
            "ssl.ca.location": str(tmp_path / "ca"),
            "ssl.certificate.location": str(tmp_path / "cert"),
            "ssl.key.location": str(tmp_path / "key"),
        }
    )
    assert found == {
        "ssl.truststore.certificates": "-----BEGIN ca-----",
        "ssl.truststore.type": "PEM",
        "ssl.keystore.certificate.chain": "-----BEGIN cert-----",
        "ssl.keystore.key": "-----BEGIN key-----",
        "ssl.keystore.type": "PEM",
    }


def test_what_only_librdkafka_knows_is_refused():
    with pytest.raises(
        OperatorError, match=r"queue\.buffering\.max\.ms is an option of librdkafka"
    ):
        java_properties({"queue.buffering.max.ms": 5})
