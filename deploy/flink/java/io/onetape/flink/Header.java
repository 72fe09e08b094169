package io.onetape.flink;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** What is read of a block here: the fields of codecs/block.py that say where it belongs. */
final class Header {
    private static final int BYTES = 128;
    private static final int MAGIC = 0x3142544f; // "OTB1"
    private static final int SHARD_AT = 6;
    private static final int SHARDS_AT = 8;

    private Header() {}

    static int shard(byte[] block) {
        return at(block).getShort(SHARD_AT) & 0xffff;
    }

    static int shards(byte[] block) {
        ByteBuffer header = at(block);
        int shards = header.getShort(SHARDS_AT) & 0xffff;
        if ((header.getShort(SHARD_AT) & 0xffff) >= shards) {
            throw new IllegalArgumentException("onetape: a block of shard " + shard(block)
                    + " of " + shards + "; was the topic written by something else?");
        }
        return shards;
    }

    private static ByteBuffer at(byte[] block) {
        ByteBuffer header = ByteBuffer.wrap(block).order(ByteOrder.LITTLE_ENDIAN);
        if (block.length < BYTES || header.getInt(0) != MAGIC) {
            throw new IllegalArgumentException("onetape: a record of " + block.length
                    + " bytes is no block; was the topic written by something else?");
        }
        return header;
    }
}
