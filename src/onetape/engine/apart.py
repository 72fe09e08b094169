"""A function that is compiled apart from the driver, which calls it through a pointer.

Where everything is merged into one function, an edit of a line compiles all of it again: ten
seconds for a pipeline with an order book. For the development loop the driver is compiled to call
what a word in memory points at. An operator that was edited is compiled by itself, and the word is
set to it; the driver stays as it is. The answer is the same, some 20 ns a call later.

One engine at a time: a driver has one word for each operator, and the last engine made has set it.
The settings of a use are part of what is compiled apart: the driver does not know them.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Apart:
    """A function of an operator as a driver names it; not part of the driver's fingerprint."""

    function: Any
    takes: int  # arguments, without settings
    settings: tuple[int, ...]
    returns: bool  # it returns a row or None, to be put into a block

    @property
    def count(self) -> int:
        """How many arguments the driver passes."""
        return self.takes + 2 * self.returns

    def text(self, kinds: Any) -> str:
        """The module that is compiled: `call`, for arguments of these types."""
        names = [f"a{i}" for i in range(self.takes)]
        call = f"function({', '.join([*names, *map(str, self.settings)])})"
        body = f"put({call}, block, used)" if self.returns else call
        given = ", ".join([*names, "block", "used"] if self.returns else names)
        return f'''"""Called with {kinds}."""\n\n\ndef call({given}):\n    {body}\n'''
