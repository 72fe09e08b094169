"""A server that speaks S3, and a place in its bucket for each test."""

import pytest
from tests.s3_server import S3Server


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory):
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def bucket_url(s3_server, monkeypatch, request):
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://bucket/{request.node.name}"
