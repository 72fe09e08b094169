"""Bytes to records and back: feeds, framings, captures. Pure: no file, socket or clock."""

from onetape.codecs.framing import FRAMINGS

__all__ = ["FRAMINGS"]
