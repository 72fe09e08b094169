"""Integers in byte buffers, big and little endian, read as int64. Callers check lengths first."""

from typing import Any

from onetape.compiled.kernel import intrinsic


def _load(buffer: Any, at: int, size: int, order: Any, signed: bool = False) -> int:
    if at < 0 or at + size > len(buffer):
        raise IndexError(f"{size} bytes at {at} of a buffer of {len(buffer)}")
    return int.from_bytes(buffer[at : at + size].tobytes(), order, signed=signed)


def _store(buffer: Any, at: int, size: int, order: Any, value: int) -> None:
    if at < 0 or at + size > len(buffer):
        raise IndexError(f"{size} bytes at {at} of a buffer of {len(buffer)}")
    word = (int(value) % (1 << 8 * size)).to_bytes(size, order)
    for i in range(size):
        buffer[at + i] = word[i]


@intrinsic
def load_u16be(buffer: Any, at: int) -> int:
    return _load(buffer, at, 2, "big")


@intrinsic
def load_u32be(buffer: Any, at: int) -> int:
    return _load(buffer, at, 4, "big")


@intrinsic
def load_i64be(buffer: Any, at: int) -> int:
    return _load(buffer, at, 8, "big", signed=True)


@intrinsic
def load_u16le(buffer: Any, at: int) -> int:
    return _load(buffer, at, 2, "little")


@intrinsic
def load_u32le(buffer: Any, at: int) -> int:
    return _load(buffer, at, 4, "little")


@intrinsic
def load_i64le(buffer: Any, at: int) -> int:
    return _load(buffer, at, 8, "little", signed=True)


@intrinsic
def store_u16be(buffer: Any, at: int, value: int) -> None:
    _store(buffer, at, 2, "big", value)


@intrinsic
def store_u32be(buffer: Any, at: int, value: int) -> None:
    _store(buffer, at, 4, "big", value)


@intrinsic
def store_i64be(buffer: Any, at: int, value: int) -> None:
    _store(buffer, at, 8, "big", value)


@intrinsic
def store_u16le(buffer: Any, at: int, value: int) -> None:
    _store(buffer, at, 2, "little", value)


@intrinsic
def store_u32le(buffer: Any, at: int, value: int) -> None:
    _store(buffer, at, 4, "little", value)


@intrinsic
def store_i64le(buffer: Any, at: int, value: int) -> None:
    _store(buffer, at, 8, "little", value)


@intrinsic
def copy_bytes(target: Any, to: int, source: Any, start: int, count: int) -> None:
    """target[to:to + count] = source[start:start + count]; the ranges must not overlap."""
    if min(to, start) < 0 or to + count > len(target) or start + count > len(source):
        raise IndexError(f"{count} bytes from {start} of {len(source)} to {to} of {len(target)}")
    target[to : to + count] = source[start : start + count]


@intrinsic
def prefetch(array: Any, index: int) -> None:
    """Have array[index] on its way to the processor: a hint, which may point anywhere."""
