"""Words that two threads share. A plain load would be hoisted out of a loop that waits for it."""

from typing import Any

from onetape.compiled.kernel import intrinsic, kernel


@intrinsic
def load_acquire(words: Any, index: int) -> int:
    """words[index] (int64), seeing all that was written before the matching `store_release`."""
    return int(words[index])


@intrinsic
def store_release(words: Any, index: int, value: int) -> None:
    """words[index] = value (int64), after all earlier writes of this thread."""
    words[index] = value


@kernel
def peek(words, index):
    """`load_acquire` for callers in Python."""
    return load_acquire(words, index)


@kernel
def poke(words, index, value):
    """`store_release` for callers in Python."""
    store_release(words, index, value)
