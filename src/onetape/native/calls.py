"""The machine form of the system calls. Loaded only when something is compiled.

Each calls libc directly and returns what the kernel returned, or -errno. On macOS `fdatasync` is
fcntl(F_FULLFSYNC): plain fsync there leaves the bytes in the drive's own cache.
"""

import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_MACOS = sys.platform == "darwin"
_I32, _I64, _BYTES = ir.IntType(32), ir.IntType(64), ir.IntType(8).as_pointer()
_REALTIME = 0
_MONOTONIC = 6 if _MACOS else 1
_F_FULLFSYNC = 51


def _libc(
    builder: Any, name: str, result: Any, arguments: list[Any], variadic: bool = False
) -> Any:
    kind = ir.FunctionType(result, arguments, var_arg=variadic)
    return cgutils.get_or_insert_function(builder.module, kind, name)


def _or_errno(builder: Any, result: Any) -> Any:
    """int64: the result, or -errno where it is negative."""
    wide = result if result.type == _I64 else builder.sext(result, _I64)
    slot = cgutils.alloca_once_value(builder, wide)
    with builder.if_then(builder.icmp_signed("<", wide, _I64(0)), likely=False):
        name = "__error" if _MACOS else "__errno_location"
        where = builder.call(_libc(builder, name, _I32.as_pointer(), []), [])
        errno = builder.sext(builder.load(where), _I64)
        builder.store(builder.neg(errno), slot)
    return builder.load(slot)


def _timespec(builder: Any) -> Any:
    return cgutils.alloca_once(builder, ir.ArrayType(_I64, 2))


def _clock(number: int) -> Any:
    @intrinsic
    def read(typing_context):  # type: ignore[no-untyped-def]
        def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
            time = _timespec(builder)
            call = _libc(builder, "clock_gettime", _I32, [_I32, time.type])
            builder.call(call, [_I32(number), time])
            seconds, ns = (
                builder.load(builder.gep(time, [_I32(0), _I32(part)])) for part in (0, 1)
            )
            return builder.add(builder.mul(seconds, _I64(1_000_000_000)), ns)

        return types.int64(), codegen

    return read


clock_ns = _clock(_REALTIME)
monotonic_ns = _clock(_MONOTONIC)


@intrinsic
def sleep_ns(typing_context, count):  # type: ignore[no-untyped-def]
    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        time = _timespec(builder)
        billion = _I64(1_000_000_000)
        for part, value in enumerate(
            (builder.sdiv(args[0], billion), builder.srem(args[0], billion))
        ):
            builder.store(value, builder.gep(time, [_I32(0), _I32(part)]))
        call = _libc(builder, "nanosleep", _I32, [time.type, time.type])
        builder.call(call, [time, time.type(None)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def yield_thread(typing_context):  # type: ignore[no-untyped-def]
    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        builder.call(_libc(builder, "sched_yield", _I32, []), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def pwrite(typing_context, fd, buffer, at, count, file_offset):  # type: ignore[no-untyped-def]
    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        view = context.make_array(sig.args[1])(context, builder, args[1])
        if context.enable_boundscheck:
            size = builder.extract_value(view.shape, 0)
            some = builder.icmp_signed(">", args[3], _I64(0))
            with builder.if_then(some):
                last = builder.sub(builder.add(args[2], args[3]), _I64(1))
                for index in (args[2], last):
                    cgutils.do_boundscheck(context, builder, index, size)
        start = builder.bitcast(builder.gep(view.data, [args[2]]), _BYTES)
        call = _libc(builder, "pwrite", _I64, [_I32, _BYTES, _I64, _I64])
        fd32 = builder.trunc(args[0], _I32)
        return _or_errno(builder, builder.call(call, [fd32, start, args[3], args[4]]))

    i64 = types.int64
    return types.int64(i64, buffer, i64, i64, i64), codegen


@intrinsic
def fdatasync(typing_context, fd):  # type: ignore[no-untyped-def]
    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        fd32 = builder.trunc(args[0], _I32)
        if _MACOS:
            call = _libc(builder, "fcntl", _I32, [_I32, _I32], variadic=True)
            result = builder.call(call, [fd32, _I32(_F_FULLFSYNC)])
        else:
            result = builder.call(_libc(builder, "fdatasync", _I32, [_I32]), [fd32])
        return _or_errno(builder, result)

    return types.int64(types.int64), codegen
