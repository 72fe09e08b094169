"""A pipeline in parts by key, on as many threads: how much faster than in one part?

    books    ITCH to order books, top of book, trades, VWAP, bars and alerts (the standard pipeline)
    windows  trade blocks to a window and a pattern a key: little work a row, so reading weighs more

Frames are made beforehand. In one part means the batch runtime as it is, without parts. The answer
is right if the digests of all outputs are those of one part.
"""

import time
from typing import Any

from bench.itch import frames_of_day
from bench.window import BLOCK, Bursts, WIDTH_NS, WITHIN_NS, _trades

import onetape as ot
from onetape.engine.frames import frames_of
from onetape.market import vwap
from onetape.records.market import Trade
from onetape.runtimes import batch, partitions
from onetape.runtimes.partitions import Parts
