"""UDP sockets, opened and described: multicast groups joined, buffers asked for and checked.

What receives and sends in the hot loop is `native/sockets.py`; it takes the `fd` from here.

A network has many interfaces, and a group joined on the wrong one is silent without an error, so
the interface is always a choice: its IPv4 address. The default is the loopback, 127.0.0.1:
nothing leaves the machine, or enters, unless somebody says so. It matters for multicast only.
"""

import ipaddress
import os
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass
from errno import EADDRINUSE

from onetape.records.errors import OperatorError

LOOPBACK = "127.0.0.1"
RECEIVE_BUFFER_BYTES = 8 << 20

# Of Linux, not in Python's socket module.
_SO_RCVBUFFORCE = 33
_SO_MEMINFO = 55
_SK_MEMINFO_DROPS = 8
_IP_MULTICAST_ALL = 49
_LINUX = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class Address:
    """An IPv4 address and a UDP port; port 0 lets the system choose one when it is bound."""

    host: str
    port: int

    def __post_init__(self) -> None:
        _ipv4(self.host, "host")
        if not 0 <= self.port < 1 << 16:
            raise OperatorError(f"port was {self.port}; expected 0 to 65535")

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def is_multicast(self) -> bool:
        return ipaddress.IPv4Address(self.host).is_multicast


def parse_address(text: str) -> Address:
    """`239.192.0.1:5000` or `localhost:5000` as an Address. OperatorError: what is wrong."""
    host, colon, port = text.rpartition(":")
    if not colon:
        raise OperatorError(f"address {text!r} has no port; expected HOST:PORT (239.192.0.1:5000)")
    if not (port.isascii() and port.isdigit()):
        raise OperatorError(f"port of {text!r} was {port!r}; expected a number, 0 to 65535")
    return Address(LOOPBACK if host == "localhost" else host, int(port))


def open_receiver(
    address: Address,
    *,
    interface: str = LOOPBACK,
    receive_buffer_bytes: int = RECEIVE_BUFFER_BYTES,
) -> "Receiver":
    """A socket that gets what is sent to `address`, never waiting. OperatorError if it cannot be.

    A group is joined on the interface, and only what comes in there for it is delivered; any number
    of processes may have it. An address of this machine is for one: a second on the same port
    would take the datagrams of the first.
    """
    interface = LOOPBACK if interface == "localhost" else interface
    at = socket.inet_aton(_ipv4(interface, "interface"))
    opened = _udp_socket()
    try:
        if address.is_multicast:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            member = socket.inet_aton(address.host) + at
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            if _LINUX:  # not also what other sockets of this machine joined on other interfaces
                opened.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        granted_bytes = _ask_for_buffer(opened, receive_buffer_bytes)
        opened.bind((address.host, address.port))
    except OSError as why:
        opened.close()
        on = f" on interface {interface}" if address.is_multicast else ""
        taken = "; another process has it: end that one, or take another port"
        said = f"{why.strerror}{taken if why.errno == EADDRINUSE else ''}"
        raise OperatorError(f"cannot receive at {address}{on}: {said}") from None
    return Receiver(opened, Address(*opened.getsockname()), granted_bytes, receive_buffer_bytes)


def open_sender(address: Address, *, interface: str = LOOPBACK, ttl: int = 1) -> "Sender":
    """A socket connected to `address`. OperatorError if it cannot be.

    interface  where datagrams for a group leave; receivers on this machine hear them as well
    ttl        routers that datagrams for a group may pass, plus one
    """
    interface = LOOPBACK if interface == "localhost" else interface
    at = socket.inet_aton(_ipv4(interface, "interface"))
    opened = _udp_socket()
    try:
        if address.is_multicast:
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, at)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        opened.connect((address.host, address.port))
    except OSError as why:
        opened.close()
        on = f" from interface {interface}" if address.is_multicast else ""
        raise OperatorError(f"cannot send to {address}{on}: {why.strerror}") from None
    return Sender(opened, address)


class _Endpoint:
    def __init__(self, opened: socket.socket, address: Address) -> None:
        self.socket = opened
        self.address = address
        self.fd = opened.fileno()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self):  # type: ignore[no-untyped-def]
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Receiver(_Endpoint):
    """An open receiver; `address` is where it is bound, the port chosen if it was 0.

    granted_bytes  size of the receive buffer. A datagram takes more of it than its length: of
                   1 KB, 8 MiB hold about 7 000
    warning        what to tell the operator when that is less than was asked for, or None
    """

    def __init__(
        self, opened: socket.socket, address: Address, granted_bytes: int, asked_bytes: int
    ) -> None:
        super().__init__(opened, address)
        self.granted_bytes = granted_bytes
        self.warning = None
        if granted_bytes < asked_bytes:
            name = "net.core.rmem_max" if _LINUX else "kern.ipc.maxsockbuf"
            self.warning = (
                f"receive buffer of {address} is {granted_bytes} bytes, {asked_bytes} were asked "
                f"for: a burst may be lost; allow it with: sudo sysctl -w {name}={asked_bytes}"
            )

    def drops(self) -> int | None:
        """Datagrams the kernel dropped at this socket since it was opened, modulo 2**32.

        For want of room in the receive buffer, nearly always (or a checksum was wrong). None where
        the platform does not count. A system call: ask now and then, not for each datagram.
        """
        if not _LINUX:
            return None
        words = self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (_SK_MEMINFO_DROPS + 1))
        return int(struct.unpack_from("=I", words, 4 * _SK_MEMINFO_DROPS)[0])


class Sender(_Endpoint):
    """An open sender."""

    def send(self, data: bytes) -> bool:
        """Send one datagram. False when it was not sent: no room, or an earlier one found nobody.

        The second is said once, so that a further call sends.
        """
        try:
            self.socket.send(data)
        except (BlockingIOError, ConnectionRefusedError):
            return False
        except OSError as why:
            raise OperatorError(
                f"cannot send {len(data)} bytes to {self.address}: {why.strerror}"
            ) from None
        return True


def multicast_works(interface: str = LOOPBACK) -> bool:
    """Whether a datagram to a group really comes back on the interface, within half a second."""
    token = os.urandom(16)  # somebody else may use the group
    deadline = time.monotonic() + 0.5
    try:
        with (
            open_receiver(Address("239.192.255.254", 0), interface=interface) as receiver,
            open_sender(receiver.address, interface=interface) as sender,
        ):
            sender.send(token)
            while (left := deadline - time.monotonic()) > 0:
                if select.select([receiver.fd], [], [], left)[0]:
                    if receiver.socket.recv(len(token)) == token:
                        return True
    except (OperatorError, OSError):
        pass
    return False


def _udp_socket() -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    return opened


def _ipv4(text: str, what: str) -> str:
    """The text, if it is an IPv4 address. Names are not looked up: an answer may change."""
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise OperatorError(
            f"{what} was {text!r}; expected an IPv4 address (127.0.0.1) or localhost: other names "
            f"are not looked up, since the answer may change ('getent ahostsv4 NAME' tells it)"
        ) from None


def _ask_for_buffer(opened: socket.socket, count: int) -> int:
    """Make the receive buffer `count` bytes, or as near as we may; returns its size."""
    if _LINUX:
        try:
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, count)
        except PermissionError:  # it takes CAP_NET_ADMIN; the other gives as much as is allowed
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, count)
        # Linux doubles what it is told, for its own bookkeeping.
        return opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    while count > 0:
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, count)
            break
        except OSError:  # macOS refuses what is too much
            count //= 2
    return opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
