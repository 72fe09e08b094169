"""The servers of tests: found or named as missing, ended in any case, back on the same data."""

import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from tests import servers

START = """\
#!/bin/sh
# start FOLDER --data DIR --port PORT
[ ! -e "$2/broken" ] || { echo "the disk is full"; exit 3; }
mkdir -p "$4"; echo again >> "$4/starts"
sleep 600 &
exec "$2/python" -m http.server "$6" --bind 127.0.0.1 --directory "$4"
"""


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A server of its data folder: what a start script and `install` would leave."""
    (tmp_path / "deploy").mkdir()
    script = tmp_path / "deploy" / "page"
    script.write_text(START)
    script.chmod(0o755)
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "python").symlink_to(sys.executable)
    monkeypatch.setenv("ONETAPE_SERVERS", str(tmp_path))
    monkeypatch.setattr(servers, "DEPLOY", tmp_path / "deploy")
    kind = servers.Kind(
        "Page", "", "python", ("--port",), servers.HTTP, servers._http_answers("/starts")
    )
    monkeypatch.setitem(servers.KINDS, "page", kind)
    return tmp_path / "page"


def starts(server):
    with urlopen(f"{server.address}/starts", timeout=5) as answer:
        return answer.read().decode()


def test_it_is_killed_and_comes_back_on_its_port_and_data(page):
    server = servers.start("page")
    try:
        port = server.port
        assert starts(server) == "again\n"
        server.kill()
        with pytest.raises(OSError):
            starts(server)
        server.restart()
        assert (server.port, starts(server)) == (port, "again\nagain\n")
    finally:
        server.stop()
    assert not server.folder.exists()
    with pytest.raises(OSError):
        starts(server)


def test_one_of_several_is_killed(page):
    server = servers.start("page", brokers=2)
    try:
        server.kill(0)
        with urlopen(f"http://127.0.0.1:{server.ports[1]}/starts", timeout=5) as answer:
            assert answer.status == 200
        assert list(server._processes) == [1]
    finally:
        server.stop()


def test_what_does_not_start_says_why(page):
    (page / "broken").touch()
    before = dict(servers._running)

    with pytest.raises(servers.ServerFailed, match=r"Page: ended with 3; .*\nthe disk is full"):
        servers.start("page")
    assert servers._running == before


def test_what_is_missing_is_named_with_the_way_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("ONETAPE_SERVERS", str(tmp_path))

    with pytest.raises(pytest.skip.Exception) as skipped:
        servers.start("nats")
    assert str(skipped.value) == "no NATS: deploy/nats install $ONETAPE_SERVERS/nats"


@pytest.mark.skipif(not servers.WITH_US, reason="needs setpriv(1)")
def test_it_goes_with_the_process_that_started_it(tmp_path):
    start = "import subprocess, sys, time\nfrom tests import servers\n"
    held = "exec 9>held; flock 9; exec sleep 600"
    start += f"subprocess.Popen([*servers.WITH_US, 'sh', '-c', {held!r}])\ntime.sleep(600)\n"
    root = Path(__file__).resolve().parent.parent
    ours = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{start}"],
        cwd=tmp_path,
    )
    end_s = time.monotonic() + 30
    while not (tmp_path / "held").exists():
        assert time.monotonic() < end_s, "it does not begin"
        time.sleep(0.05)
    ours.kill()
    ours.wait()

    while subprocess.run(["flock", "-n", "held", "true"], cwd=tmp_path, check=False).returncode:
        assert time.monotonic() < end_s, "it lives on"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kafka", "registry", "questdb", "nats"])
def test_a_real_one_starts_and_comes_back(name):
    server = servers.start(name)
    try:
        server.restart()
    finally:
        server.stop()


@pytest.mark.slow
def test_three_brokers_lose_one_and_get_it_back():
    server = servers.start("kafka", brokers=3)
    try:
        server.kill(1)
        server.restart(1)
        assert len(server.ports) == 3
    finally:
        server.stop()


@pytest.mark.parametrize("name", ["kafka", "nats", "questdb", "registry", "servers"])
@pytest.mark.parametrize("words", [["--help"], ["start", "--help"], ["install", "-h"]])
def test_a_script_that_is_asked_for_help_helps_and_does_nothing(name, words, tmp_path):
    ran = subprocess.run(
        [servers.DEPLOY / name, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert f"deploy/{name} " in ran.stdout
    assert not list(tmp_path.iterdir())
