"""Live: a feed on the network, a tenth of it lost and asked for again; and the tape verified.

Three commands, each a process, on the loopback: a simulated exchange (MoldUDP64 and a server for
those who missed something), a relay that loses some, and a node that runs this very file.
"""

import socket
import subprocess
import sys
import tempfile

import pyarrow.compute as pc
import pyarrow.parquet as pq

import onetape as ot
from onetape import market as mk
from onetape.surveillance import burst_cancel

feed = ot.source("itch")
pipeline = ot.Pipeline(gap=feed.gaps(), alert=burst_cancel(feed.events()))


def address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def onetape(*words: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "onetape.cli", *words]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def live(tape: str, out: str) -> None:
    sent, line, asked = address(), address(), address()
    run = ["run", __file__, "--udp", line, "--tape", tape, "--out", out]
    node = onetape(*run, "--rerequest", asked)
    relay = onetape("relay", "--from", sent, "--to", line, "--lose", "0.1", "--idle-s", "0.5")
    day = ["--seconds", "0.5", "--instruments", "8", "--episodes", "1", "--linger-s", "0.1"]
    exchange = onetape("exchange", "--a", sent, "--rerequest", asked, "--on-enter", *day)
    assert relay.stdout.readline() == exchange.stdout.readline() == "ready\n"
    while "listening" not in (said := node.stderr.readline()):
        assert said, "the node ended"
    for process in (exchange, node, relay):
        told, said = process.communicate("\n")
        print(told)
        assert process.returncode == 0, said


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        live(f"{folder}/tape", f"{folder}/out")
        print(onetape("verify", __file__, f"{folder}/tape").communicate()[0])
        gaps = pq.read_table(f"{folder}/out/gap.parquet")
    filled = gaps.filter(pc.field("state") == mk.GAP_FILLED)
    assert len(filled) == len(gaps) / 2 and pc.sum(filled["messages_count"]).as_py() > 0
    waited_ns = pc.mean(filled["waited_ns"]).as_py()
    print(f"{len(filled)} gaps, each filled, after {waited_ns / 1e6:.1f} ms on the average")
