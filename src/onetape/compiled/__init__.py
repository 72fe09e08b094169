"""Building blocks that compile: kernels, rows, words, the key index, timers, checksums."""

from onetape.compiled.kernel import Kernel, kernel

__all__ = ["Kernel", "kernel"]
