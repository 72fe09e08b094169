"""Options by name, as a person writes them: of one that is not known, which is the nearest."""

import difflib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from onetape.records.errors import DeclarationError
from onetape.records.places import here


def check_options(what: str, given: Iterable[str], function: Callable[..., Any]) -> None:
    """DeclarationError where one of `given` is no parameter of `function`, said of `what`."""
    known = [name for name in inspect.signature(function).parameters if name != "self"]
    if said := unknown(what, given, known):
        raise DeclarationError(here().says(said))


def unknown(what: str, given: Iterable[str], known: list[str]) -> str:
    """What to say of the first of `given` that is not known; "" where all are."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            return f"{what} has no option {name!r}; {hint}It has {', '.join(known) or 'none'}"
    return ""
