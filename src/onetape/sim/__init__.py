"""Stand-ins for the world: a simulated exchange whose every byte follows from a seed."""

from onetape.sim.exchange import (
    Chunks,
    Episode,
    Simulation,
    Written,
    generate,
    simulate,
    write_file,
)
from onetape.sim.exchange_options import ExchangeOptions

__all__ = [
    "Chunks",
    "Episode",
    "ExchangeOptions",
    "Simulation",
    "Written",
    "generate",
    "simulate",
    "write_file",
]
