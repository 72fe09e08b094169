"""Bytes to records and back: feeds, framings, captures. Pure: no file, socket or clock."""

from onetape.codecs.framing import FRAMING_OF, FRAMINGS

__all__ = ["FRAMINGS", "FRAMING_OF"]
