"""A real schema registry: ids, versions, rules; its answers and ours are the same."""

import itertools
import json
import shutil
import socket
import subprocess
import time

import pytest
from hypothesis import HealthCheck, given, settings
from tests import servers
from tests.records.changes import CASES, pairs

import onetape as ot
from onetape import cli
from onetape.codecs.event import decoder, encoder
from onetape.connect.registry import Incompatible, Registry
from onetape.records import OperatorError, PeerError, block_of, market
from onetape.records.compatibility import MODES, mismatches, problems
from onetape.records.schemas import avro_schema, json_schema, protobuf_text

PATH = "/apis/ccompat/v7"
numbers = itertools.count()


@pytest.fixture
def url(registry):
    return registry.address + PATH


@pytest.fixture
def client(url):
    return Registry(url)


def new_subject():
    return f"subject-{next(numbers)}-value"


def test_a_schema_has_an_id_and_is_found_by_it(client, url):
    subject, schema = new_subject(), avro_schema(market.Trade)
    assert client.history(subject) == []
    assert client.lookup(subject, schema) is None

    schema_id = client.register(subject, schema)

    assert client.register(subject, schema) == schema_id
    assert Registry(url).register(subject, schema) == schema_id
    assert Registry(url).schema(schema_id) == schema
    (first,) = client.history(subject)
    assert first == (subject, 1, schema_id, "AVRO", schema)
    assert client.version(subject) == first
    assert client.lookup(subject, schema) == first
    assert subject in client.subjects()


def test_what_an_id_means_is_asked_for_once(client, monkeypatch):
    schema_id = client.register(new_subject(), avro_schema(market.Gap))
    first = client.schema(schema_id)
    monkeypatch.setattr(client, "_ask", None)

    assert client.schema(schema_id) is first


def test_messages_go_through_the_registry(client, url):
    schema_id = client.register(new_subject(), avro_schema(market.Vwap))
    rows = block_of(market.Vwap, [(1, 2, 3, 4, 5, 6, 7, 8)])
    messages = encoder(market.Vwap, "avro", schema_id=schema_id)(rows)
    unknown = encoder(market.Vwap, "avro", schema_id=4_000_000_000)(rows)

    decode = decoder(market.Vwap, "avro", schema_of=Registry(url).schema)
    found, reasons = decode.rows(messages + unknown)

    assert found.tobytes() == rows.tobytes()
    assert list(reasons) == [1]
    assert "no schema has the id 4000000000" in reasons[1]


@pytest.mark.parametrize(
    ("kind", "schema"),
    [("PROTOBUF", protobuf_text(market.Depth)), ("JSON", json_schema(market.Depth))],
)
def test_schemas_of_other_kinds(client, kind, schema):
    subject = new_subject()
    schema_id = client.register(subject, schema, kind)

    (found,) = client.history(subject)

    assert (found.schema_id, found.kind) == (schema_id, kind)
    assert client.schema(schema_id) == found.schema
    assert kind == "PROTOBUF" or found.schema == schema


@pytest.mark.parametrize("mode", MODES)
def test_a_rule_is_set_and_told(client, mode):
    subject = new_subject()
    client.register(subject, avro_schema(market.Gap))
    assert client.compatibility(subject) in (None, "none")  # Confluent's answer, Apicurio's
    assert client.compatibility(new_subject()) in (None, "none")

    client.set_compatibility(mode, subject)

    assert client.compatibility(subject) == mode


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
def test_the_registry_says_what_we_say(client, case, mode):
    before, after, _, _ = CASES[case]
    ours = [one for one in problems(after, [(1, before)], mode) if one.kind != "width"]
    subject = new_subject()
    client.register(subject, before)
    client.set_compatibility(mode, subject)

    theirs = client.is_compatible(subject, after)

    assert theirs == (not ours)
    if theirs:
        client.register(subject, after)
    else:
        with pytest.raises(Incompatible, match=subject):
            client.register(subject, after)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(pairs())
def test_the_registry_agrees_on_any_two_schemas(client, made):
    before, after = map(avro_schema, made)
    ours = [one.kind for one in mismatches(after, before) if one.kind != "width"]
    subject = new_subject()
    client.register(subject, before)
    client.set_compatibility("backward", subject)
    if before == after:
        return

    try:
        theirs = client.is_compatible(subject, after)
    except OperatorError:  # what it answers where a field and an old name are both there
        theirs = False
        assert "ambiguous" in ours

    assert theirs == (not ours)


def test_transitive_rules_look_at_all_versions(client):
    subject = new_subject()
    client.register(subject, CASES["a field is added"][0])
    client.register(subject, CASES["a field is added"][1])
    after = CASES["a field gets a default"][1] | {"doc": "a third version"}
    known = [(one.version, one.schema) for one in client.history(subject)]
    gone = {**after, "fields": [f for f in after["fields"] if f["name"] != "b"]}
    for schema, mode in itertools.product([after, gone, known[0][1]], MODES):
        client.set_compatibility(mode, subject)

        assert client.is_compatible(subject, schema) == (not problems(schema, known, mode))


def test_no_registry_at_the_address_is_said_in_time():
    port = servers.free_ports(1)[0]
    began_s = time.monotonic()

    with pytest.raises(OperatorError, match=f"registry http://127.0.0.1:{port} does not answer"):
        Registry(f"http://127.0.0.1:{port}", timeout_s=1).subjects()

    assert time.monotonic() - began_s < 30


def test_a_server_that_is_silent_is_given_up():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(OperatorError, match="does not answer: timed out"):
            Registry(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.1).subjects()


def test_an_address_that_is_another_one(registry):
    with pytest.raises((OperatorError, PeerError)) as why:
        Registry(registry.address).subjects()

    assert "apis/ccompat/v7" in str(why.value) or "expected JSON" in str(why.value)


@pytest.mark.parametrize("url", ["127.0.0.1:8081", "ftp://x", "http://", "file:///etc/passwd"])
def test_what_is_no_address(url):
    with pytest.raises(OperatorError, match="expected http://HOST:PORT"):
        Registry(url)


def test_a_schema_that_is_none_is_refused_with_the_registrys_words(client):
    with pytest.raises(OperatorError, match="42"):
        client.register(new_subject(), '{"type": "nothing"}')


def test_a_password_goes_into_the_header_and_into_no_message(monkeypatch):
    port = servers.free_ports(1)[0]
    monkeypatch.setenv("ONETAPE_REGISTRY_AUTH", "from:environment")
    given = Registry(f"http://me:sec%40ret@127.0.0.1:{port}", timeout_s=0.1)
    told = Registry(f"http://127.0.0.1:{port}")

    assert given._headers["Authorization"] == "Basic bWU6c2VjQHJldA=="
    assert told._headers["Authorization"] == "Basic ZnJvbTplbnZpcm9ubWVudA=="
    with pytest.raises(OperatorError) as why:
        given.subjects()
    assert "sec" not in str(why.value).replace("seconds", "")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=here"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)
    return folder


@pytest.mark.slow
def test_tls_with_a_certificate_that_is_trusted_and_one_that_is_not(certificate, monkeypatch):
    (port,) = servers.free_ports(1)
    own = {
        "quarkus.http.ssl-port": port,
        "quarkus.http.ssl.certificate.files": certificate / "cert.pem",
        "quarkus.http.ssl.certificate.key-files": certificate / "key.pem",
    }
    server = servers.start("registry", settings=own)
    try:
        url = f"https://127.0.0.1:{port}{PATH}"
        trusting = Registry(url, ca=str(certificate / "cert.pem"))
        assert trusting.subjects() == []
        assert trusting.register("a-value", avro_schema(market.Gap)) > 0
        with pytest.raises(OperatorError, match="CERTIFICATE_VERIFY_FAILED"):
            Registry(url).subjects()
        monkeypatch.setenv("ONETAPE_REGISTRY_CA", str(certificate / "key.pem"))
        with pytest.raises(OperatorError, match="expected PEM files"):
            Registry(url)
    finally:
        server.stop()


PIPELINE = """
import onetape as ot

@ot.record{was}
class Jump:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    {fields}

pipeline = ot.Pipeline(jump=ot.source(Jump, name="jumps"))
"""


@pytest.fixture
def written(tmp_path):
    def write(fields, was=""):
        path = tmp_path / "pipeline.py"
        path.write_text(PIPELINE.format(fields=fields, was=was))
        return str(path)

    return write


def test_the_command_registers_checks_and_refuses_with_the_field_named(written, url, capsys):
    topic = f"desk{next(numbers)}"
    words = ["--registry", url, "--topic-out", topic]
    subject = f"{topic}.jump-value"

    assert cli.main(["schema", "register", written("ticks: ot.i64"), *words, "--json"]) == 0
    (first,) = json.loads(capsys.readouterr().out)["outputs"]
    assert (first["subject"], first["before"], first["problems"]) == (subject, 0, [])
    assert Registry(url).schema(first["id"])["name"] == "Jump"

    assert cli.main(["schema", "check", written("ticks: ot.i64"), *words]) == 0
    assert capsys.readouterr().out == f"{subject}  is version 1\n"

    assert cli.main(["schema", "check", written("ticks: ot.i64\n    lots: ot.i64"), *words]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"{subject}  may not follow (backward)\n  Jump.lots is new and has no")

    later = written("ticks: ot.i64\n    lots: ot.i64 = 0")
    assert cli.main(["schema", "check", later, *words]) == 0
    assert capsys.readouterr().out == f"{subject}  may follow (backward)\n"
    assert cli.main(["schema", "register", later, *words, "--compatibility", "full"]) == 0
    assert Registry(url).compatibility(subject) == "full"
    assert len(Registry(url).history(subject)) == 2

    renamed = written("jump_ticks: ot.i64", was='(was={"jump_ticks": "ticks"})')
    assert cli.main(["schema", "register", renamed, *words]) == 1
    assert "Jump.ticks is called 'jump_ticks' now" in capsys.readouterr().out
    assert cli.main(["schema", "check", renamed, *words, "--compatibility", "backward"]) == 0
    assert len(Registry(url).history(subject)) == 2


def test_protobuf_fields_keep_their_numbers(written, url, capsys):
    topic = f"desk{next(numbers)}"
    words = ["--registry", url, "--topic-out", topic]
    protobuf = [*words, "--encoding-out", "protobuf"]
    assert cli.main(["schema", "register", written("ticks: ot.i64"), *protobuf]) == 0
    capsys.readouterr()

    before = written("lots: ot.i64\n    ticks: ot.i64")
    assert cli.main(["schema", "register", before, *protobuf]) == 1
    assert "Jump.lots has the number 3, which was ticks (sint64) in v" in capsys.readouterr().out

    behind = written("ticks: ot.i64\n    lots: ot.i64")
    assert cli.main(["schema", "register", behind, *protobuf]) == 0
    assert "may follow (backward), id " in capsys.readouterr().out
    assert len(Registry(url).history(f"{topic}.jump-value")) == 2
    assert cli.main(["schema", "check", behind, *words]) == 1
    assert "is PROTOBUF, and no AVRO of a record" in capsys.readouterr().err


def test_a_run_is_refused_before_it_begins(written, url, tmp_path, capsys):
    registry, topic = Registry(url), "jump-value"
    path = written("ticks: ot.i64")
    first = ot.record_of(
        {"type": "record", "name": "Jump", "fields": [{"name": "ts_event_ns", "type": "long"}]}
    )
    registry.register(topic, avro_schema(first))
    day = tmp_path / "day.itch"
    day.write_bytes(b"")
    words = ["run", path, "--file", str(day), "--tape", str(tmp_path / "tape"), "--registry", url]

    assert cli.main(words) == 1

    said = capsys.readouterr().err
    assert "jump-value, backward: Jump.instrument_id is new and has no default" in said
    assert "Jump.ticks is new and has no default" in said
    assert not (tmp_path / "tape").exists()
    assert len(registry.history(topic)) == 1


def test_show_prints_what_readers_need(capsys):
    assert cli.main(["schema", "show", "standard", "--output", "trade"]) == 0
    assert json.loads(capsys.readouterr().out) == avro_schema(market.Trade)
    assert cli.main(["schema", "show", "standard", "--encoding-out", "protobuf"]) == 0
    assert "message TopOfBook {" in capsys.readouterr().out
    assert cli.main(["schema", "show", "standard", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trade"]["name"] == "Trade"
    assert cli.main(["schema", "show", "standard", "--output", "x"]) == 1
    assert "no output 'x'; the pipeline has" in capsys.readouterr().err
    assert cli.main(["schema", "check", "standard"]) == 1
    assert "which registry?" in capsys.readouterr().err
