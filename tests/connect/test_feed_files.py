"""Recorded files of several feeds as one run: by event time, whatever the pieces."""

import gzip

import pytest
from tests.codecs.fix_driver import admin, report

import onetape as ot
from onetape.connect.feed_files import FeedFiles
from onetape.connect.fix_file import FixFile
from onetape.records import OperatorError, PeerError
from onetape.sim.own_day import OwnDay


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """(folder, day): the simulated day as two files."""
    folder = tmp_path_factory.mktemp("day")
    made = OwnDay(seed=1, milliseconds=1300)
    found = list(made)
    itch = b"".join(a.payload for a in found if a.feed == "itch")
    fix = b"\n".join(a.payload for a in found if a.feed == "fix")
    (folder / "01052026.itch").write_bytes(itch)
    (folder / "drop.fix").write_bytes(fix + b"\n")
    return folder


def pipeline_of(fix="fix://dropcopy:9880", itch="itch+udp://239.192.0.1:5000"):
    return ot.Pipeline(mine=ot.source(fix).orders().with_book(ot.source(itch)))


def test_the_pieces_are_the_files_in_the_order_of_time(day):
    paths = {"itch": day / "01052026.itch", "fix": day / "drop.fix"}
    files = FeedFiles(pipeline_of().sources, paths)
    sources = [source.name for source in pipeline_of().sources]
    parts, times = {"itch": b"", "fix": b""}, []

    for source, kind, payload in files:
        if kind == 1:
            name = sources[source]
            parts[name] += bytes(payload)
            if name == "itch":
                times.append(files.midnight_ns + int.from_bytes(bytes(payload[7:13]), "big"))

    assert parts == {name: path.read_bytes() for name, path in paths.items()}
    assert times == sorted(times)
    assert len(times) > 10


def test_a_report_finds_its_order_in_the_book(day):
    given = {"itch": day / "01052026.itch", "fix": day / "drop.fix"}

    results = ot.run(pipeline_of(), file=given, quiet=True)
    named = ot.run(pipeline_of(f"fix:{given['fix']}", f"itch:{given['itch']}"), quiet=True)

    rows = results.mine.rows
    assert len(rows) > 15
    assert results.counts.late == 0
    assert named.digests == results.digests
    assert (rows["instrument_id"] > 0).all()


def test_a_log_alone_plain_or_gzip(tmp_path):
    log = b"2026 : " + report(1) + b"\n" + admin(2, b"0") + b"\n2026 : " + report(3)
    (tmp_path / "a.fix").write_bytes(log)
    (tmp_path / "b.fix.gz").write_bytes(gzip.compress(log))

    for name in ("a.fix", "b.fix.gz"):
        assert b"".join(piece for _, piece in FixFile(tmp_path / name)) == log
        orders = ot.Pipeline(order=ot.source(f"fix:{tmp_path / name}").orders())
        assert ot.run(orders, quiet=True).order.rows["sequence"].tolist() == [1, 3]


@pytest.mark.parametrize("cut", range(1, 240, 7))
def test_a_log_that_ends_in_a_message_is_read_to_its_end(tmp_path, cut):
    (tmp_path / "a.fix").write_bytes(report(1) + report(2)[:-cut])

    pieces = [piece for _, piece in FixFile(tmp_path / "a.fix")]

    assert b"".join(pieces) == report(1) + report(2)[:-cut]


MISTAKES = [
    ({"fix": "no.fix", "itch": "no.itch"}, OperatorError, "cannot be opened"),
    ({"fix": "empty", "itch": "empty"}, OperatorError, "is empty"),
    ({"fix": "words", "itch": "words"}, PeerError, "is not ITCH"),
    ({"fix": "words", "itch": "day"}, PeerError, "is no log of FIX"),
    ({"fix": "words"}, OperatorError, "source 'itch' names no file"),
    ({"fox": "words"}, OperatorError, "no source 'fox'; it has itch, fix"),
    ("words", OperatorError, "is of which source"),
    (None, OperatorError, "is live, and FIX sessions .* are not built yet; .*simulate"),
]


@pytest.mark.parametrize(("given", "error", "says"), MISTAKES)
def test_what_cannot_be_read_is_said(tmp_path, monkeypatch, given, error, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").touch()
    (tmp_path / "day").write_bytes(b"\0\x0cS" + bytes(11))
    (tmp_path / "words").write_text("these are words")

    with pytest.raises(error, match=says):
        ot.run(pipeline_of(), file=given, quiet=True)
