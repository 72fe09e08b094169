"""A real server that speaks S3, for a test: S3Proxy on this machine, with a folder behind it.

`.ci/s3-server FOLDER` installs it; ONETAPE_S3_SERVER names the folder, and tests skip without it.
"""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

START_S = 120  # a JVM on a busy machine
JAVA = ["java", "-Xmx256m", "-DLOG_LEVEL=info", "-cp"]
IDENTITY, SECRET = "onetape-test", "of-this-test-only"


class S3Server:
    """The bucket `bucket` is the folder `data/bucket`."""

    def __init__(self, folder: Path) -> None:
        jars = os.environ.get("ONETAPE_S3_SERVER", "")
        if not jars or not shutil.which("java"):
            pytest.skip("no S3 server: run .ci/s3-server FOLDER, and set ONETAPE_S3_SERVER to it")
        pytest.importorskip("obstore", reason='pip install "onetape[s3]"')
        self.folder, self.jars = folder, jars
        self.bucket = folder / "data" / "bucket"
        self.bucket.mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": IDENTITY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    def start(self) -> None:
        settings = {
            "s3proxy.endpoint": f"http://127.0.0.1:{self.port}",
            "s3proxy.authorization": "aws-v4",
            "s3proxy.identity": IDENTITY,
            "s3proxy.credential": SECRET,
            "jclouds.provider": "filesystem-nio2",
            "jclouds.identity": "none",
            "jclouds.credential": "none",
            "jclouds.filesystem.basedir": str(self.folder / "data"),
        }
        path, log = self.folder / "s3proxy.conf", self.folder / "s3proxy.log"
        path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        with open(log, "wb") as out:
            self._process = subprocess.Popen(
                [*JAVA, f"{self.jars}/*", "org.gaul.s3proxy.Main", "--properties", str(path)],
                stdout=out,
                stderr=out,
            )
        end_s = time.monotonic() + START_S
        while not self._answers():
            assert self._process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < end_s, f"no answer within {START_S} s: {log.read_text()}"
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
