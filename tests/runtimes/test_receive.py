"""`onetape listen`: rows as they come, and what else comes to the same port."""

import json

import numpy as np
import pytest

import onetape as ot
from onetape import cli
from onetape.codecs.rows_datagram import ROWS, new_packet, write_header
from onetape.connect.udp import open_sender
from onetape.runtimes import receive

PIPELINE = """
import onetape as ot

@ot.record
class Told:
    ts_event_ns: ot.i64
    n: ot.i64

pipeline = ot.Pipeline(told=ot.source(Told))
"""
STRAYS = (b"", b"hello", bytes(64), b"OTR1" + bytes(60))


@ot.record
class Told:
    ts_event_ns: ot.i64
    n: ot.i64


def datagram(first_row, count, record=Told):
    rows = np.zeros(count, record.dtype)
    rows["n"] = range(first_row, first_row + count)
    packet = new_packet(rows.nbytes, "0" * 16)
    write_header(packet, ROWS, 0, count, record.dtype.itemsize, 1, first_row, 5, 6, 7)
    return packet[:64].tobytes() + rows.tobytes()


class Sent(receive.RowsReceiver):
    """A receiver to which rows and strays have come by the time it is asked."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        with open_sender(self.address) as sender:
            for data in (datagram(0, 2), *STRAYS, datagram(3, 1), STRAYS[1]):
                assert sender.send(data)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_stray_datagram_is_counted_and_passed_over(tmp_path, monkeypatch, capsys, as_json):
    (tmp_path / "told.py").write_text(PIPELINE)
    monkeypatch.setattr(receive, "RowsReceiver", Sent)
    argv = ["listen", str(tmp_path / "told.py"), "127.0.0.1:0", "--seconds", "0.5"]

    assert cli.main([*argv, *["--json"] * as_json]) == 0

    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1] == (
        "4 rows; 1 missed, 0 again; 5 datagrams are not of this pipeline and were passed over "
        "(the last: a datagram of 5 bytes; its header alone has 64)"
    )
    if as_json:
        *rows, last = map(json.loads, captured.out.splitlines())
        assert [row["n"] for row in rows] == [0, 1, 3]
        assert last == {"rows": 4, "missed": 1, "repeated": 0, "not_ours": 5}
