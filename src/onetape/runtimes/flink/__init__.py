"""The Flink runtime: the pipeline that runs at the edge, as a job on a Flink cluster.

    blocks of Kafka ─► key of the shard ─► Worker ─► blocks to Kafka, exactly once

Flink has an environment of its own (`environment`), because its pins are old; this side talks to
it through processes (`cluster`, `submit`) and its REST interface (`rest`). What runs in a task is
`operator` and what it imports.
"""
