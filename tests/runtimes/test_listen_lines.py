"""`onetape listen`: a row a line, in words or as JSON, and whose rows they are."""

import json
import threading

import numpy as np
import pytest

from onetape import cli
from onetape.codecs.rows_datagram import ROWS, RowsHeader, new_packet, write_header
from onetape.connect.sinks.taking import Output
from onetape.connect.udp import open_receiver, open_sender, parse_address
from onetape.records import UNSET, block_of
from onetape.records.market import Alert, TopOfBook
from onetape.runtimes.receive import driver_of, json_lines, text_lines
from onetape.runtimes.standard import pipeline

HEADER = RowsHeader(ROWS, 4, 1, 0, 1, 7, 40, 41, 0, "")


def alert():
    rows = np.zeros(1, Alert.dtype)
    rows["rule"], rows["state"], rows["severity"], rows["instrument_id"] = 1, 1, 1, 14
    rows["evidence_sequence"][0, :2] = 51, 52
    rows["flags"] = 1 | 32
    return rows


def test_an_alert_is_one_line_of_json_with_its_arrays_and_its_rule():
    (line,) = json_lines(Output("alert", Alert, None, pipeline.rules), HEADER, alert(), 5)

    told = json.loads(line)
    assert told["evidence_sequence"] == [51, 52] + [0] * 14
    assert told["text"] == "burst cancel"
    assert (told["output"], told["row"], told["durable"]) == ("alert", 7, True)


def test_an_alert_is_one_line_of_text():
    (line,) = text_lines(Output("alert", Alert, None, pipeline.rules), HEADER, alert(), 5)

    assert "\n" not in line
    assert line.startswith("alert 7  offset 40  'burst cancel'  ts_event_ns 0  ")
    for words in ("evidence_sequence [51 52]", "state open", "severity warn", "flags late,stale"):
        assert f"  {words}" in line


def test_what_is_not_known_is_a_dash_and_null():
    rows = block_of(TopOfBook, [(1, UNSET, 10, 0, 5, 1, 3, 0, 3, 0)])
    output = Output("top", TopOfBook)

    (text,), (line,) = (list(f(output, HEADER, rows, 5)) for f in (text_lines, json_lines))

    assert "  bid_price_ticks -  ask_price_ticks 10  " in text
    assert "reserved" not in text
    assert json.loads(line)["bid_price_ticks"] is None


def datagram(driver):
    """A datagram of one alert, as a node with that driver sends it."""
    packet = new_packet(Alert.dtype.itemsize, driver)
    output = list(pipeline.outputs).index("alert")
    write_header(packet, ROWS, output, 1, Alert.dtype.itemsize, 1, 0, 9, 0, 0)
    return bytes(packet[:64]) + alert().tobytes()


@pytest.mark.parametrize(("driver", "warned"), [(driver_of(pipeline), 0), ("ab" * 8, 1)])
def test_rows_of_another_pipeline_are_said_to_be_that_once(capsys, driver, warned):
    with open_receiver(parse_address("127.0.0.1:0")) as free:
        address = free.address
    done = threading.Event()

    def send():
        with open_sender(address) as sender:
            while not done.wait(0.01):
                sender.send(datagram(driver))

    sending = threading.Thread(target=send)
    sending.start()
    try:
        assert cli.main(["listen", "standard", str(address), "--seconds", "0.5", "--json"]) == 0
    finally:
        done.set()
        sending.join()

    out, err = capsys.readouterr()
    assert {json.loads(line).get("text") for line in out.splitlines()} - {None} == {"burst cancel"}
    assert err.count(f"(driver {driver}) is not standard as it is here") == warned
