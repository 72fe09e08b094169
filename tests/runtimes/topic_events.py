"""A pipeline over events of others, for tests: totals an instrument of what comes in JSON."""

import onetape as ot


@ot.record
class Fill:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    lots: ot.i64


@ot.record
class Total:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    lots: ot.i64


@ot.operator(key="instrument_id")
class Totals:
    lots: ot.i64 = 0

    def on_fill(self, f: Fill) -> Total:
        self.lots += f.lots
        return Total(f.ts_event_ns, f.instrument_id, self.lots)


pipeline = ot.Pipeline(total=Totals(ot.source(Fill, name="fills")))
