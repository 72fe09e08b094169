"""NATS JetStream: streams of blocks, and rows for others as one message each.

    settings.py   where the server is and who we are
    link.py       a connection, called from threads; what went wrong, as one line
    streams.py    making streams, what stands last on a subject, publishing behind it
    reader.py     the blocks of one shard, in order
    publisher.py  blocks of an input into a stream
    sink.py       an output's rows into a stream: what is declared; writing.py: how they get there

The subjects of a stream S: S.shard.K has the input of shard K (manifest, frames) or, of what was
made of it, the END; S.shard.K.NAME has rows of the output NAME, S.event.NAME the same as JSON. The
library nats-py is loaded by the first connection: pip install 'onetape[nats]'.
"""

from onetape.connect.nats.sink import NatsSink

__all__ = ["NatsSink"]
