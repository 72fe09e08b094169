"""Writing Python source, indented."""

from collections.abc import Iterator
from contextlib import contextmanager


class Text:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self._depth = 0

    def add(self, *lines: str) -> None:
        self.lines += ["    " * self._depth + line if line else "" for line in lines]

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """`head:` and what is added inside the with-block, one level deeper."""
        self.add(head + ":")
        self._depth += 1
        before = len(self.lines)
        yield
        if len(self.lines) == before:
            self.add("pass")
        self._depth -= 1

    def __str__(self) -> str:
        return "\n".join(self.lines) + "\n"
