"""The machine form of the calls for sockets. Loaded only when something is compiled."""

import socket
from errno import EINTR
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from onetape.native.calls import _BYTES, _I32, _I64, _MACOS, _libc, _or_errno, _timespec
from onetape.native.sockets import HEADER_BYTES, LENGTH_AT, SLOT_HEADER_BYTES

_AT_ONCE = _I32(int(socket.MSG_DONTWAIT))
_WATCH_BYTES = 8


def _bytes_of(context: Any, builder: Any, kind: Any, array: Any) -> tuple[Any, Any]:
    """(pointer to the first byte, number of bytes) of a uint8 array."""
    view = context.make_array(kind)(context, builder, array)
    return builder.bitcast(view.data, _BYTES), builder.extract_value(view.shape, 0)


def _check(context: Any, builder: Any, at: Any, count: Any, size: Any) -> None:
    """IndexError unless [at, at + count) lies in [0, size), where the mode checks bounds."""
    if context.enable_boundscheck:
        with builder.if_then(builder.icmp_signed(">", count, _I64(0))):
            last = builder.sub(builder.add(at, count), _I64(1))
            for index in (at, last):
                cgutils.do_boundscheck(context, builder, index, size)


def _batch(context: Any, builder: Any, sig: Any, args: Any) -> tuple[Any, Any]:
    """(pointer to the headers, number of slots), their addresses checked against the buffer."""
    headers, size = _bytes_of(context, builder, sig.args[1], args[1])
    buffer, buffer_size = _bytes_of(context, builder, sig.args[2], args[2])
    slots = builder.udiv(size, _I64(SLOT_HEADER_BYTES))
    first = builder.gep(headers, [builder.mul(slots, _I64(HEADER_BYTES))])
    address = builder.load(builder.bitcast(first, _I64.as_pointer()))
    at = builder.sub(address, builder.ptrtoint(buffer, _I64))
    _check(context, builder, at, builder.mul(slots, args[3]), buffer_size)
    return headers, slots


@intrinsic
def receive_many(typing_context, fd, headers, buffer, slot_bytes):  # type: ignore[no-untyped-def]
    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        messages, slots = _batch(context, builder, sig, args)
        call = _libc(builder, "recvmmsg", _I32, [_I32, _BYTES, _I32, _I32, _BYTES])
        fd32, slots32 = builder.trunc(args[0], _I32), builder.trunc(slots, _I32)
        done = builder.call(call, [fd32, messages, slots32, _AT_ONCE, _BYTES(None)])
        return _or_errno(builder, done)

    return types.int64(types.int64, headers, buffer, types.int64), codegen


@intrinsic
def receive_one(typing_context, fd, headers, buffer, slot_bytes, i):  # type: ignore[no-untyped-def]
    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        messages, slots = _batch(context, builder, sig, args)
        _check(context, builder, args[4], _I64(1), slots)
        message = builder.gep(messages, [builder.mul(args[4], _I64(HEADER_BYTES))])
        call = _libc(builder, "recvmsg", _I64, [_I32, _BYTES, _I32])
        done = builder.call(call, [builder.trunc(args[0], _I32), message, _AT_ONCE])
        with builder.if_then(builder.icmp_signed(">=", done, _I64(0))):
            length = builder.gep(message, [_I64(LENGTH_AT)])
            builder.store(builder.trunc(done, _I32), builder.bitcast(length, _I32.as_pointer()))
        return _or_errno(builder, done)

    i64 = types.int64
    return types.int64(i64, headers, buffer, i64, i64), codegen


@intrinsic
def send(typing_context, fd, buffer, at, count):  # type: ignore[no-untyped-def]
    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        data, size = _bytes_of(context, builder, sig.args[1], args[1])
        _check(context, builder, args[2], args[3], size)
        call = _libc(builder, "send", _I64, [_I32, _BYTES, _I64, _I32])
        start = builder.gep(data, [args[2]])
        done = builder.call(call, [builder.trunc(args[0], _I32), start, args[3], _AT_ONCE])
        return _or_errno(builder, done)

    i64 = types.int64
    return types.int64(i64, buffer, i64, i64), codegen


@intrinsic
def wait_readable(typing_context, watch, timeout_ns):  # type: ignore[no-untyped-def]
    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        entries, size = _bytes_of(context, builder, sig.args[0], args[0])
        count = builder.udiv(size, _I64(_WATCH_BYTES))
        negative = builder.icmp_signed("<", args[1], _I64(0))
        ns = builder.select(negative, _I64(0), args[1])
        done = _poll(builder, entries, count, ns)
        interrupted = builder.icmp_signed("==", done, _I64(-EINTR))
        return builder.select(interrupted, _I64(0), done)

    return types.int64(watch, types.int64), codegen


def _poll(builder: Any, entries: Any, count: Any, ns: Any) -> Any:
    if _MACOS:  # has no ppoll
        rounded = builder.add(ns, _I64(999_999))
        ms = builder.trunc(builder.udiv(rounded, _I64(1_000_000)), _I32)
        call = _libc(builder, "poll", _I32, [_BYTES, _I32, _I32])
        return _or_errno(builder, builder.call(call, [entries, builder.trunc(count, _I32), ms]))
    time, billion = _timespec(builder), _I64(1_000_000_000)
    for part, value in enumerate((builder.udiv(ns, billion), builder.urem(ns, billion))):
        builder.store(value, builder.gep(time, [_I32(0), _I32(part)]))
    call = _libc(builder, "ppoll", _I32, [_BYTES, _I64, time.type, _BYTES])
    return _or_errno(builder, builder.call(call, [entries, count, time, _BYTES(None)]))
