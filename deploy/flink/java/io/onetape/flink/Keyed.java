package io.onetape.flink;

import org.apache.flink.api.common.functions.MapFunction;
import org.apache.flink.runtime.state.KeyGroupRangeAssignment;
import org.apache.flink.types.Row;

/**
 * A block with the key of its shard in front, as PyFlink's keyed operators take it.
 *
 * <p>The key of a shard is the first number that Flink puts into the middle of the shard's share of
 * the key groups. So shards are spread evenly over any number of slots that divides theirs, which
 * the shard's own number would not be, and the key stays when the number of slots changes.
 */
public final class Keyed implements MapFunction<byte[], Row> {
    private static final long serialVersionUID = 1L;

    private final int maxParallelism;
    private transient int[] keys;

    public Keyed(int maxParallelism) {
        this.maxParallelism = maxParallelism;
    }

    @Override
    public Row map(byte[] block) {
        int shards = Header.shards(block);
        if (keys == null || keys.length != shards) {
            keys = keys(shards, maxParallelism);
        }
        return Row.of(keys[Header.shard(block)], block);
    }

    public static int[] keys(int shards, int maxParallelism) {
        int[] found = new int[shards];
        for (int shard = 0; shard < shards; shard++) {
            int group = (int) ((2L * shard + 1) * maxParallelism / (2L * shards));
            int key = shard == 0 ? 0 : found[shard - 1] + 1;
            while (KeyGroupRangeAssignment.assignToKeyGroup(Row.of(key), maxParallelism) != group) {
                key++;
            }
            found[shard] = key;
        }
        return found;
    }
}
