"""NATS JetStream: streams of blocks, and rows for others as one message each.

    settings.py   where the server is and who we are
    link.py       a connection, called from threads; what went wrong, as one line
    streams.py    making streams, what stands last on a subject, publishing behind it
    reader.py     the blocks of one shard, in order
    publisher.py  blocks of an input into a stream
    sink.py       rows of an output, exactly once

A stream S has the subjects S.shard.K (the input of shard K: manifest, frames; or the END of what was
made of it), S.shard.K.NAME (rows of the output NAME) and S.event.NAME (its rows as JSON). The
library nats-py is loaded by the first connection: pip install 'onetape[nats]'.
"""

from onetape.connect.nats.sink import NatsSink

__all__ = ["NatsSink"]
