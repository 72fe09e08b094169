package io.onetape.flink;

import org.apache.flink.connector.kafka.sink.KafkaPartitioner;

/** Blocks of a shard go to the partition of its number, so a reader finds them in order. */
public final class ByShard implements KafkaPartitioner<byte[]> {
    private static final long serialVersionUID = 1L;

    @Override
    public int partition(byte[] block, byte[] key, byte[] value, String topic, int[] partitions) {
        return partitions[Header.shard(block) % partitions.length];
    }
}
