"""A node fed from a stream of NATS: the answer of the file, also when node or server are killed."""

import json
import signal
import subprocess
import sys
import time
from datetime import date

import pytest
from tests import servers

from onetape.cli import main
from onetape.connect.itch_file import open_itch
from onetape.connect.nats.link import Link
from onetape.connect.nats.publisher import publish_blocks
from onetape.connect.nats.settings import settings
from onetape.engine.frames import frames_of
from onetape.runtimes import batch
from onetape.runtimes.blocks import blocks_of
from onetape.runtimes.edge.block_feed import NOTE
from onetape.runtimes.inputs import inputs_of
from onetape.runtimes.standard import market_watch
from onetape.sim.exchange import write_file

DATE = "2026-01-05"
LIMIT_S = 180


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    path = tmp_path_factory.mktemp("day") / "day.itch"
    write_file(path, seed=5, instruments=40, seconds=6.0, episodes=2)
    return path


@pytest.fixture(scope="module")
def expected(day):
    """What a plain run over the file comes to."""
    file = open_itch(day, trading_date=date.fromisoformat(DATE))
    engine = batch.make_engine(
        market_watch(), framing={"itch": file.framing}, midnight_ns=file.midnight_ns
    )
    return batch.run(engine, frames_of(file))


def publish(nats, day, stream, *more):
    asked = ["nats", "publish", "standard", "--file", str(day), "--date", DATE]
    assert main([*asked, "--nats", nats.address, "--stream", stream, *more]) == 0


def run(nats, stream, tape, *more):
    return ["run", "standard", "--nats", nats.address, "--stream", stream, "--tape", str(tape),
            "--json", *more]  # fmt: skip


def digests(nats, stream, capsys):
    capsys.readouterr()
    assert main(["nats", "digests", "standard", "--nats", nats.address, "--stream", stream,
                 "--json"]) == 0  # fmt: skip
    return json.loads(capsys.readouterr().out)


def test_the_answer_is_that_of_the_file(nats, day, expected, tmp_path, capsys):
    publish(nats, day, "DAY")
    capsys.readouterr()
    assert main(run(nats, "DAY", tmp_path / "tape", "--stream-out", "DAY_ROWS")) == 0

    facts = json.loads(capsys.readouterr().out)
    assert facts["digests"] == expected.digests
    assert facts["state_digest"] == expected.state_digest
    assert facts["is_over"] and facts["messages"] == expected.counts.events
    out = digests(nats, "DAY_ROWS", capsys)
    assert out["digests"] == expected.digests
    assert out["state_digests"] == {"0": expected.state_digest}
    assert main(["verify", "standard", str(tmp_path / "tape")]) == 0


def test_a_run_that_was_ended_goes_on(nats, day, expected, tmp_path, capsys):
    tape = tmp_path / "tape"
    publish(nats, day, "ENDED", "--events", "256")
    capsys.readouterr()
    assert main(run(nats, "ENDED", tape, "--seconds", "0.3")) == 0
    before = json.loads(capsys.readouterr().out)
    (tape / NOTE).unlink(missing_ok=True)  # it may be lost: then all blocks are read again
    assert main(run(nats, "ENDED", tape, "--resume")) == 0

    facts = json.loads(capsys.readouterr().out)
    assert facts["messages_before"] == before["messages"]
    assert facts["digests"] == expected.digests
    assert main(run(nats, "ENDED", tape, "--resume")) == 0  # it is complete
    assert json.loads(capsys.readouterr().out)["digests"] == expected.digests


def test_what_does_not_fit_is_said(nats, day, tmp_path, capsys):
    publish(nats, day, "FITS")
    assert main(run(nats, "NOT_THERE", tmp_path / "a")) == 1
    assert "there is no stream NOT_THERE" in capsys.readouterr().err
    assert main(run(nats, "FITS", tmp_path / "a", "--speed", "2")) == 1
    assert "--speed does not go with --nats" in capsys.readouterr().err
    assert main(["run", "standard", "--stream", "FITS", "--tape", str(tmp_path / "a")]) == 1
    assert "--stream is of NATS" in capsys.readouterr().err
    assert main(["nats", "digests", "standard", "--nats", nats.address, "--stream", "FITS"]) == 1
    assert "is no block of rows" in capsys.readouterr().err


def test_rows_of_another_run_are_refused_before_the_tape_is_made(nats, day, tmp_path, capsys):
    publish(nats, day, "BOTH")
    rows = ["--stream-out", "BOTH_ROWS"]
    assert main(run(nats, "BOTH", tmp_path / "a", *rows, "--seconds", "3")) == 0
    assert main(run(nats, "BOTH", tmp_path / "b", *rows)) == 1
    assert "has rows of another run; give another stream" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()

    assert main(run(nats, "BOTH", tmp_path / "a", *rows, "--resume")) == 0
    assert digests(nats, "BOTH_ROWS", capsys)["digests"]


def test_a_date_that_was_forgotten_is_said_and_does_not_stay(nats, day, capsys):
    words = ["nats", "publish", "standard", "--file", str(day), "--nats", nats.address]
    assert main([*words, "--stream", "UNDATED"]) == 0
    assert "give --date YYYY-MM-DD" in capsys.readouterr().err

    assert main([*words, "--stream", "UNDATED", "--date", DATE]) == 1
    assert "(--date?)" in capsys.readouterr().err


PROGRAM = """
import onetape as ot
from onetape import c, market as mk

trades = ot.source(mk.Trade)
big = trades.filter(c.qty_lots > 50) >> ot.jsonl("{out}/big.jsonl")
pipeline = ot.Pipeline(big=big)
"""


def test_one_event_a_message(nats, tmp_path, monkeypatch, capsys):
    """What another program writes: JSON, on subjects of its own; the run goes on where it was."""
    program, tape = tmp_path / "big.py", tmp_path / "tape"
    program.write_text(PROGRAM.format(out=tmp_path))
    message = {"price_ticks": 1, "order_id": 0, "match_id": 0, "sequence": 0, "instrument_id": 1}
    message |= {"side": "B", "flags": 0, "kind": 0}
    words = ["run", str(program), "--nats", nats.address, "--stream", "THEIRS", "--tape", str(tape)]
    words += ["--encoding", "json", "--subject", "theirs.trade", "--seconds", "2", "--json"]
    with Link(settings(nats.address)) as link:
        link.call(link.js.add_stream(name="THEIRS", subjects=["theirs.>"]))

        def publish(numbers):
            for n in numbers:
                told = json.dumps(message | {"ts_event_ns": n, "qty_lots": n}).encode()
                link.call(link.js.publish("theirs.trade", told))
                link.call(link.js.publish("theirs.other", b"not ours"))

        publish(range(100))
        of_blocks = [word for word in words if word not in ("--encoding", "json", "--subject",
                                                            "theirs.trade")]  # fmt: skip
        assert main(of_blocks) == 1
        said = capsys.readouterr().err
        assert "holds no blocks, and the stream 200 messages" in said and "--encoding json" in said
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out)["messages"] == 100
        (tape / NOTE).unlink()
        publish(range(100, 150))
        assert main([*words, "--resume"]) == 0
        assert json.loads(capsys.readouterr().out)["messages"] == 150
        rows = [json.loads(line) for line in (tmp_path / "big.jsonl").read_text().splitlines()]
        assert [row["qty_lots"] for row in rows] == list(range(51, 150))

        link.call(link.js.publish("theirs.trade", b'{"ts_event_ns": "soon"}'))
        assert main([*words, "--resume"]) == 1
        assert "message 301 cannot be read" in capsys.readouterr().err


@pytest.mark.crash
@pytest.mark.slow
def test_node_and_server_are_killed(day, expected, tmp_path, capsys):
    """SIGKILL of the node, the server, both at once, as blocks come: nothing lost or doubled."""
    own, tape = servers.start("nats"), tmp_path / "tape"
    inputs = inputs_of(market_watch(), day, date.fromisoformat(DATE))
    blocks = list(blocks_of(market_watch(), inputs, events=128))
    lives = ["node", "server", "both", "node", "both"]
    end_s = time.monotonic() + LIMIT_S
    try:
        words = [sys.executable, "-m", "onetape.cli", *run(own, "DAY", tape, "--stream-out", "OUT")]
        for life, killed in enumerate([*lives, "nobody"]):
            with Link(settings(own.address)) as link:
                publish_blocks(link, "DAY", blocks[: len(blocks) * (life + 1) // 6])
            resume = ["--resume"] if (tape / "manifest").exists() else []
            with open(tmp_path / f"{life}.out", "wb") as out:
                child = subprocess.Popen(words + resume, stdout=out)
            was = written(tape)
            while killed != "nobody" and written(tape) == was:
                assert child.poll() is None and time.monotonic() < end_s
                time.sleep(0.002)
            if killed in ("server", "both"):
                own.kill()
            if killed == "server":
                own.begin()
                own.wait()
                with Link(settings(own.address)) as link:  # it goes on with what comes now
                    publish_blocks(link, "DAY", blocks[: len(blocks) * (2 * life + 3) // 12])
                was = written(tape)
                while written(tape) == was:
                    assert child.poll() is None and time.monotonic() < end_s
                    time.sleep(0.002)
            if killed != "nobody":
                child.send_signal(signal.SIGKILL)
            if killed == "both":
                own.begin()
                own.wait()
            assert child.wait(LIMIT_S) == (0 if killed == "nobody" else -signal.SIGKILL)

        facts = json.loads((tmp_path / f"{len(lives)}.out").read_text())
        assert facts["digests"] == expected.digests
        assert facts["state_digest"] == expected.state_digest
        assert digests(own, "OUT", capsys)["digests"] == expected.digests
    finally:
        own.stop()


def written(tape):
    """What the note says, which is renewed as blocks become durable."""
    try:
        return (tape / NOTE).read_text()
    except OSError:
        return ""
