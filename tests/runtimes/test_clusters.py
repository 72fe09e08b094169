"""A cluster that is not there is said to be away at once, with its address."""

import socket
import time
from contextlib import closing

import pytest

from onetape.records import OperatorError
from onetape.runtimes.flink.rest import Cluster
from onetape.runtimes.spark import clusters
from onetape.runtimes.spark.clusters import check_cluster


@pytest.fixture
def free_port():
    """Nobody listens there."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return server.getsockname()[1]


@pytest.fixture
def port():
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("kind", ["sc", "spark"])
def test_an_engine_that_is_away_is_named_at_once(kind, free_port):
    began_s = time.perf_counter()
    where = f"{kind}://127.0.0.1:{free_port}"

    with pytest.raises(OperatorError, match=rf"^no cluster answers at {where} \(.*refused"):
        check_cluster(where)

    assert time.perf_counter() - began_s < clusters.CONNECT_S + 1


def test_one_of_several_masters_is_enough(free_port, port):
    check_cluster(f"spark://127.0.0.1:{free_port},127.0.0.1:{port}")
    check_cluster(f"sc://127.0.0.1:{port}/;user_id=desk;token=x")


@pytest.mark.parametrize("cluster", ["local[2]", "yarn", "k8s://https://127.0.0.1:1"])
def test_what_the_engine_judges_is_left_to_it(cluster):
    check_cluster(cluster)


@pytest.mark.parametrize("cluster", ["sc://", "spark://127.0.0.1:port", "sc://127.0.0.1:70000"])
def test_what_is_no_address_is_refused(cluster):
    with pytest.raises(OperatorError, match="expected sc://HOST:PORT, spark://HOST:PORT"):
        check_cluster(cluster)


def test_a_port_that_is_not_said_is_that_of_the_engine():
    assert clusters._parted("desk", clusters.PORTS["sc"], "") == ("desk", 15002)
    assert clusters._parted("[::1]:7", 1, "") == ("::1", 7)


def test_a_flink_cluster_that_is_away_is_named_at_once(free_port):
    with pytest.raises(OperatorError, match=rf"cluster answers at 127.0.0.1:{free_port}"):
        Cluster(f"127.0.0.1:{free_port}").check()
