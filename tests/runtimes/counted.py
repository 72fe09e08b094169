"""A pipeline with a little state, for tests of what goes on after something has stopped."""

import onetape as ot


@ot.record
class Number:
    ts_event_ns: ot.i64
    key: ot.i64


@ot.operator(key="key")
class Counted:
    count: ot.i64 = 0

    def on_number(self, n: Number) -> Number | None:
        self.count += 1
        return Number(n.ts_event_ns, self.count)


def pipeline():
    return ot.Pipeline(out=Counted(ot.source(Number)))
