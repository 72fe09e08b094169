package io.onetape.flink;

import java.io.IOException;
import java.io.OutputStream;
import org.apache.flink.api.common.serialization.Encoder;

/** Blocks in a file: each behind its length, u32, little end first. */
public final class Framed implements Encoder<byte[]> {
    private static final long serialVersionUID = 1L;

    @Override
    public void encode(byte[] block, OutputStream stream) throws IOException {
        int length = block.length;
        stream.write(length);
        stream.write(length >>> 8);
        stream.write(length >>> 16);
        stream.write(length >>> 24);
        stream.write(block);
    }
}
