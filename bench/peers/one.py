"""One engine, one computation, in this process: python -m bench.peers.one SUITE ENGINE WORK ...

Writes the rows of the last round to OUT and prints one JSON object; null where the engine is not
installed or has no such computation. A suite is a package with a module `stream`, of the input and
the answers, and modules on_ENGINE with a class a computation, such as Vwap: made anew for each
round from the events (the input in its own form, the graph), then `run`, which is timed, then
`rows`.
"""

import gc
import json
import sys
import time
from importlib import import_module, metadata
from importlib.util import find_spec

import numpy as np
from bench.peers.stream import in_order


def main(
    suite: str, engine: str, work: str, events: str, seconds: str, rounds: str, out: str
) -> None:
    module = import_module(f"{suite}.on_{engine}") if find_spec(engine) else None
    computation = getattr(module, work.capitalize(), None)
    if computation is None:
        print("null")
        return
    package = import_module(engine)
    version = getattr(package, "__version__", None) or metadata.version(engine)
    stream = import_module(f"{suite}.stream")
    given, clock = stream.ANSWERS[work][0](int(events)), getattr(stream, "clock", time.perf_counter)
    took_s: list[float] = []
    while len(took_s) < int(rounds) or sum(took_s) < float(seconds):
        one = computation(given)
        gc.collect()
        gc.freeze()  # the input is no garbage: spare the engine looking through it
        began_s = clock()
        one.run()
        took_s.append(clock() - began_s)
        gc.unfreeze()
    np.save(out, in_order(one.rows()))
    print(json.dumps({"version": version, "events_per_s": round(int(events) / min(took_s))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
