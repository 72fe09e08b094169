"""Whose fault it was, as a class.

    OnetapeError
    |- DeclarationError   the program: a record, operator or pipeline that cannot be
    |- PeerError          the other side: bytes that break their protocol
    |- OperatorError      the environment: files, folders, options, capacity
    `- IntegrityError     the tape is not what was written: halt, never guess

A message says where, what was found, what was expected and what to do.
"""


class OnetapeError(Exception):
    """Base of all errors that are meant for a person to read.

    ```python
    try:
        trades.filter(c.prise_ticks > 10)
    except ot.OnetapeError as error:
        assert "did you mean 'price_ticks'?" in str(error)
    ```
    """


class DeclarationError(OnetapeError):
    """The program declares something that cannot be."""


class PeerError(OnetapeError):
    """The other side broke its protocol."""


class OperatorError(OnetapeError):
    """The environment or the configuration does not allow it."""


class IntegrityError(OnetapeError):
    """Stored bytes are not what was written."""
