"""Kafka: topics of blocks, and topics of others with one event a record.

    settings.py     who we are and where the brokers are; what librdkafka is told
    errors.py       what went wrong, as one line
    topics.py       making topics, and what is at their end
    publisher.py    records into topics: idempotent, or in transactions
    subscriber.py   records out of them: fixed partitions, or the share of a member of a group
    passing.py      from one topic to another, each record once
    events.py       one event a record: gathered into rows, and written from rows; dead letters
    sink.py         rows of any run into a topic: ot.kafka("HOST:PORT/TOPIC")

The library confluent-kafka is loaded by the first client that is made (the extra `kafka`).
"""
