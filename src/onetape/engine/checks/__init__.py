"""What a person gets wrong inside an operator, found when it is declared.

A method of an operator compiles, so it may use less than Python has. The compiler says so late, and
in its own words; here the text of the method is looked at first, in milliseconds, and the message
has the file, the line and what to write instead:

    pipeline.py:21: Jumps.on_trade: Trade has no field 'prise_ticks'; did you mean 'price_ticks'?
        was, self.last_ticks = self.last_ticks, t.prise_ticks
                                                ^^^^^^^^^^^^^

Refused is only what cannot compile, or would in silence mean something else (a text compared with
a number, None where state is UNSET, a clock that is not on the tape). All else is left to the
compiler. A method without source (from a prompt) is not looked at.
"""

from onetape.engine.checks.source import place_of, read
from onetape.engine.checks.subject import Subject
from onetape.engine.checks.walk import Walk

__all__ = ["Subject", "check", "place_of"]


def check(subject: Subject) -> None:
    """Raise DeclarationError at the first mistake in the text of a method."""
    if str(subject.function.__module__).partition(".")[0] == "onetape":
        return  # what is shipped compiles: it is tested
    found = read(subject.function)
    if found is not None:
        Walk(subject, found).run()
