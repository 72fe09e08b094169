"""Does anybody listen where a cluster was said to be? Engines find out late, in pages, or never."""

import socket

from onetape.records import OperatorError

CONNECT_S = 5
CONNECT_PORT = 15002  # of sc:// where none is said
PORTS = {"sc": CONNECT_PORT, "spark": 7077}


def check_cluster(cluster: str) -> None:
    """OperatorError: nobody answers at sc://HOST:PORT, or at any master of spark://HOST:PORT,...

    Other forms (local[*], yarn, k8s://) are the engine's to judge.
    """
    kind, found, rest = cluster.partition("://")
    if not found or kind not in PORTS:
        return
    why: dict[str, str] = {}
    for address in rest.split("/")[0].split(";")[0].split(","):
        host, port = _parted(address, PORTS[kind], cluster)
        try:
            socket.create_connection((host, port), CONNECT_S).close()
            return
        except OSError as error:
            why[f"{host}:{port}"] = error.strerror or str(error) or type(error).__name__
    said = ", ".join(f"{address}: {reason}" for address, reason in why.items())
    raise OperatorError(
        f"no cluster answers at {cluster} ({said}); start it, or give another --cluster; without "
        "--cluster the engine runs on this machine"
    )


def _parted(address: str, port: int, cluster: str) -> tuple[str, int]:
    host, colon, number = address.rpartition(":")
    if not colon or address.endswith("]"):  # [::1]
        host, number = address, str(port)
    if not host or not number.isdecimal() or not 0 < int(number) < 1 << 16:
        raise OperatorError(
            f"--cluster was {cluster!r}; expected sc://HOST:PORT, spark://HOST:PORT"
        )
    return host.strip("[]"), int(number)
