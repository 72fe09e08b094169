"""SASL, TLS and access lists, against a broker that asks for all of them."""

import shutil
import subprocess

import pytest
from tests import servers
from tests.connect.kafka_topics import everything, wait_for

from onetape.connect.kafka.publisher import Publisher, Record
from onetape.connect.kafka.settings import settings
from onetape.connect.kafka.subscriber import Subscriber
from onetape.connect.kafka.topics import Admin
from onetape.records import OperatorError

ADMIN, DESK, GUEST = "of the admin", "of the desk", "of a guest"
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


def run(*words):
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """ca.pem, and server.pem: key and certificate of 127.0.0.1, signed by it."""
    if not shutil.which("openssl"):
        pytest.skip("no certificates: needs openssl (apt-get install openssl)")
    folder = tmp_path_factory.mktemp("authority")
    key = ("-newkey", "rsa:2048", "-nodes")
    run("openssl", "req", "-x509", *key, "-keyout", folder / "ca.key", "-out", folder / "ca.pem",
        "-days", 2, "-subj", "/CN=onetape test authority")  # fmt: skip
    run("openssl", "req", *key, "-keyout", folder / "own.key", "-out", folder / "own.csr",
        "-subj", "/CN=127.0.0.1")  # fmt: skip
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    run("openssl", "x509", "-req", "-in", folder / "own.csr", "-CA", folder / "ca.pem",
        "-CAkey", folder / "ca.key", "-CAcreateserial", "-out", folder / "own.pem", "-days", 2,
        "-extfile", folder / "names")  # fmt: skip
    both = (folder / "own.key").read_text() + (folder / "own.pem").read_text()
    (folder / "server.pem").write_text(both)
    return folder


@pytest.fixture(scope="module")
def secure(authority):
    users = {"admin": ADMIN, "desk": DESK, "guest": GUEST}
    known = " ".join(f'user_{name}="{password}"' for name, password in users.items())
    server = servers.start(
        "kafka",
        settings={
            "listener.security.protocol.map": "CLIENT:SASL_SSL,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "listener.name.client.plain.sasl.jaas.config": f'{PLAIN} username="admin" '
            f'password="{ADMIN}" {known};',
            "listener.name.client.scram-sha-256.sasl.jaas.config": SCRAM,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": authority / "server.pem",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": authority / "ca.pem",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:admin;User:desk;User:ANONYMOUS;User:scrammed",
        },
        client={
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "admin",
            "sasl.password": ADMIN,
            "ssl.ca.location": str(authority / "ca.pem"),
        },
    )
    yield server
    server.stop()


def as_user(server, authority, user, password, mechanism="PLAIN"):
    given = {"USER": user, "PASSWORD": password, "SASL": mechanism, "CA": authority / "ca.pem"}
    return settings(
        server.address, environment={f"ONETAPE_KAFKA_{n}": str(v) for n, v in given.items()}
    )


def test_records_go_and_come_by_sasl_plain_and_tls(secure, authority):
    to = as_user(secure, authority, "desk", DESK)
    Admin(to).make("secure", 1)
    with Publisher(to, "secure") as publisher:
        publisher.put(Record("secure", b"hello", 0))
        publisher.commit()

    assert [t.value for t in everything(secure, "secure", to=to)] == [b"hello"]


def test_and_by_scram(secure, authority):
    from confluent_kafka.admin import (
        AdminClient,
        ScramCredentialInfo,
        ScramMechanism,
        UserScramCredentialUpsertion,
    )

    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
    made = UserScramCredentialUpsertion("scrammed", info, b"salted")
    admin = AdminClient({"bootstrap.servers": secure.address, "log_level": 0} | secure.client)
    admin.alter_user_scram_credentials([made])["scrammed"].result(30)
    to = as_user(secure, authority, "scrammed", "salted", "SCRAM-SHA-256")

    def is_known():
        try:
            return Admin(to).make("scrammed", 1, exact=False) or True
        except OperatorError:
            return False  # the broker has not heard of the user yet

    wait_for(is_known, "the user is known")
    with Publisher(to) as publisher:
        publisher.put(Record("scrammed", b"hello", 0))

    assert [t.value for t in everything(secure, "scrammed", to=to)] == [b"hello"]


def test_a_wrong_password_is_one_line(secure, authority, capfd):
    with pytest.raises(OperatorError, match="the brokers refuse this name and password"):
        Admin(as_user(secure, authority, "desk", "wrong")).existing("secure")
    assert capfd.readouterr().err == ""


def test_a_certificate_of_another_authority_is_one_line(secure, authority, tmp_path, capfd):
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "k",
        "-out", tmp_path / "ca.pem", "-days", 2, "-subj", "/CN=somebody")  # fmt: skip

    with pytest.raises(OperatorError, match="TLS fails; is ONETAPE_KAFKA_CA the authority"):
        Admin(as_user(secure, tmp_path, "desk", DESK)).existing("secure")
    assert capfd.readouterr().err == ""


def test_who_may_not_is_told_so(secure, authority):
    desk = as_user(secure, authority, "desk", DESK)
    Admin(desk).make("closed", 1)
    guest = as_user(secure, authority, "guest", GUEST)

    with pytest.raises(OperatorError, match="this user may not"):
        Admin(guest).existing("closed")
    with pytest.raises(OperatorError, match="this user may not"), Publisher(guest) as publisher:
        publisher.put(Record("closed", b"x", 0))
        publisher.flush()
    with Subscriber(guest, "closed") as incoming:
        incoming.assign({0: None})
        with pytest.raises(OperatorError, match="this user may not"):
            wait_for(lambda: incoming.take(0.1), "an error")
