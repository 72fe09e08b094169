"""A tape goes on with what it was fed from; the refusal says in words what differs."""

from types import SimpleNamespace

import pytest

from onetape.records import OperatorError
from onetape.runtimes.run import into_tape

TOPIC = {"kafka": "fills", "topic_id": "a1", "encoding": "json"}
FILES = {"files": [{"file": "a.itch", "size_bytes": 1}, {"file": "b.fix", "size_bytes": 2}]}


@pytest.mark.parametrize(
    "origin, said",
    [
        (TOPIC | {"encoding": "avro"}, "kafka fills (encoding json), this run from kafka fills "
                                       "(encoding avro)"),
        (TOPIC | {"kafka": "fills2", "topic_id": "b2"}, "kafka fills (topic id a1), this run from "
                                                        "kafka fills2 (topic id b2)"),
        (FILES, "this run from files a.itch, b.fix; go on with the same topic"),
    ],
)  # fmt: skip
def test_another_input_is_said_in_words(monkeypatch, tmp_path, origin, said):
    known = SimpleNamespace(manifest={"origin": TOPIC})
    monkeypatch.setattr(into_tape, "read_facts", lambda _: known)

    with pytest.raises(OperatorError) as caught:
        into_tape.check_origin(tmp_path, origin, "topic")
    assert said in str(caught.value) and "{" not in str(caught.value)
    assert into_tape.check_origin(tmp_path, TOPIC, "topic") == known.manifest
