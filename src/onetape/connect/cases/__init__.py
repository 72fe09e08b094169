"""Cases: rows that somebody is to look into, each with the evidence around it, as files."""

from onetape.connect.cases.sink import CasesSink

__all__ = ["CasesSink"]
