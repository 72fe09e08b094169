"""Time and bytes of one Trade a message, in each encoding, both ways, and by the libraries alone.

    python bench/event_codecs.py [--rows 100000]

Times are of the processor. Rows are of a simulated day's kind: times that grow, prices near each
other. Each figure is the best of five passes over all rows, in blocks of 4096, and each answer is
compared with what was written.
"""

import argparse
import io
import time

import fastavro
import numpy as np

from onetape.codecs.event import ENCODINGS, decoder, encoder
from onetape.codecs.event.protobuf import message_class
from onetape.records import market
from onetape.records.declare import raw_rows
from onetape.records.schemas import avro_schema

BLOCK = 4096
PASSES = 5


def rows_like_a_day(count):
    rows, numbers = np.zeros(count, market.Trade.dtype), np.arange(count)
    rows["ts_event_ns"] = 1_767_600_000_000_000_000 + numbers * 1_000_003
    rows["price_ticks"] = 1_000_000 + numbers * 7919 % 5000 * 100
    rows["qty_lots"] = 1 + numbers % 900
    rows["order_id"], rows["match_id"] = 10_000_000 + numbers * 3, 5_000_000 + numbers
    rows["sequence"] = numbers * 5
    rows["instrument_id"] = rows["asset_id"] = 1 + numbers % 8000
    rows["side"], rows["kind"] = ord("B"), ord("E")
    return rows


def best_ns(call, count):
    """Of one row, the best of some passes."""
    times = []
    for _ in range(PASSES):
        began_ns = time.process_time_ns()
        call()
        times.append(time.process_time_ns() - began_ns)
    return min(times) / count


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    rows = rows_like_a_day(parser.parse_args().rows)
    blocks = [rows[at : at + BLOCK] for at in range(0, len(rows), BLOCK)]
    print(f"{'':28s} bytes  write ns  read ns")
    for encoding in ENCODINGS:
        measure(encoding, rows, blocks)
    libraries(rows[:10_000])


def measure(encoding, rows, blocks):
    encode, decode = encoder(market.Trade, encoding), decoder(market.Trade, encoding)
    written = [encode(block) for block in blocks]
    read = np.concatenate([raw_rows(decode.rows(messages)[0]) for messages in written])
    assert read.tobytes() == rows.tobytes()
    size = sum(len(message) for messages in written for message in messages) / len(rows)
    write_ns = best_ns(lambda: [encode(block) for block in blocks], len(rows))
    read_ns = best_ns(lambda: [decode.rows(messages) for messages in written], len(rows))
    print(f"{encoding:28s} {size:5.1f} {write_ns:9,.0f} {read_ns:8,.0f}")


def libraries(rows):
    """The same messages by the libraries, from and to what they take: dicts, message objects."""
    schema = fastavro.parse_schema(avro_schema(market.Trade))
    told = [dict(zip(market.Trade._fields, row)) for row in rows.tolist()]

    def written(one):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, one)
        return out.getvalue()

    messages = [written(one) for one in told]
    write_ns = best_ns(lambda: [written(one) for one in told], len(rows))
    read_ns = best_ns(
        lambda: [fastavro.schemaless_reader(io.BytesIO(m), schema, None) for m in messages],
        len(rows),
    )
    print(f"{'fastavro, dicts':28s} {'':5s} {write_ns:9,.0f} {read_ns:8,.0f}")
    decode = decoder(market.Trade, "avro")  # one at a time: what a schema of others costs
    read_ns = best_ns(lambda: [decode(message) for message in messages], len(rows))
    print(f"{'fastavro, checked rows':28s} {'':5s} {'':9s} {read_ns:8,.0f}")
    message_of = message_class(market.Trade)
    messages = [message_of(**one).SerializeToString() for one in told]
    write_ns = best_ns(lambda: [message_of(**one).SerializeToString() for one in told], len(rows))
    read_ns = best_ns(lambda: [message_of.FromString(m) for m in messages], len(rows))
    print(f"{'protobuf, message objects':28s} {'':5s} {write_ns:9,.0f} {read_ns:8,.0f}")


if __name__ == "__main__":
    main()
