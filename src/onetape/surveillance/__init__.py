"""Patterns of market abuse, each with the events that are its evidence."""

from onetape.surveillance.burst_cancel import burst_cancel

__all__ = ["burst_cancel"]
