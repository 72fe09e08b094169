"""Delta tables: recorded input as blocks, outputs as ordinary columns, each row exactly once.

A lake is a folder, or a prefix of an object store (`s3://BUCKET/PREFIX`):

    URL/tape          the input: one row a block (`codecs/block.py`), partitioned by day and shard
    URL/OUTPUT        an output: one row a row, typed columns, partitioned by day
    URL/_runs         what was computed: a row a shard of a day that was begun, and one when done
    URL/_swaps        which version took over from which (`onetape backfill`)
    URL/_versions     versions that are computed beside the current one, each laid out as URL

Columns of `tape`:

    day              date     the trading date                               partition
    shard            int      of `shards`: a stream each                     partition
    shards           int
    ordinal          long     0, 1, 2 ... in the stream: 0 is its MANIFEST, then FRAMES
    kind             int      of the block
    ends             int      1: the stream's last block
    count            long     events in it
    first_sequence, last_sequence    long
    min_ts_event_ns, max_ts_event_ns long, null where unknown
    input            string   which input the stream was made of: 16 hex digits
    block            binary   the block as it stands in a topic, its codec included

A stream is (day, shard), in the order of `ordinal`: what a `Worker` takes. It is complete when its
ordinals have no hole and its last one has `ends` = 1; a day is complete when all of its `shards`
are. Rows stand in no order, least of all after a compaction: sort by `ordinal`.

Columns of an output are those of `connect/arrow.py` in types that Delta has: every time is a long
of ns, as `..._ns`, and `ts_event` beside `ts_event_ns` is the same as a timestamp of us for people;
unsigned numbers are the next larger signed ones (u64: its bit pattern); texts are strings.
"""

TAPE, RUNS, SWAPS, VERSIONS = "tape", "_runs", "_swaps", "_versions"
