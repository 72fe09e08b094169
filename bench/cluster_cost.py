"""What a million events cost: processor time times a price that whoever asks has to name.

The figure beside it is that of the hybrid Lambda-Kappa prototype this design answers: 60 nodes of
16 virtual processors, 1.2 M events/s at their best, $1,370 of compute a day (its sections 7 A, B
and E). Taken as if it ran at that rate all day it is $0.0132 a million, and a virtual processor of
it costs $0.0595 an hour: that is the default price here, so that only the events per core differ.
"""

from typing import Any

THEIRS = {"vcpus": 960, "events_per_s": 1.2e6, "usd_per_day": 1370.0}
DAY_S, HOUR_S = 86_400, 3600
PRICE_USD = round(THEIRS["usd_per_day"] / 24 / THEIRS["vcpus"], 4)  # of a core an hour


def usd_per_million(events_per_core_s: float, usd_per_core_hour: float) -> float:
    return 1e6 / events_per_core_s / HOUR_S * usd_per_core_hour


def theirs() -> dict[str, Any]:
    """Of the source, with its own price."""
    return {
        "events_per_core_s": round(THEIRS["events_per_s"] / THEIRS["vcpus"]),
        "usd_per_million": round(THEIRS["usd_per_day"] / (THEIRS["events_per_s"] * DAY_S / 1e6), 4),
    }
