"""Restart to live: open a tape, find no checkpoint, and run all of its events again.

The tape holds a simulated day in frames of 8 KiB. Timed: opening (which checks every frame),
making the engine from cached machine code, and bringing it to the end of the tape. The answer is
checked against the same file in the batch runtime.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

from onetape.compiled.frame import DATA, END
from onetape.connect.itch_file import open_itch
from onetape.engine.digest import digests_of
from onetape.engine.frames import frames_of
from onetape.engine.planner import plan
from onetape.runtimes import batch
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.manifest import manifest_of
from onetape.runtimes.standard import pipeline
from onetape.sim.exchange import write_file
from onetape.tape.tape import Tape


def run(messages: int = 10_000_000) -> dict[str, Any]:
    """recover_s, and the events that were run again in it."""
    with tempfile.TemporaryDirectory() as folder:
        day, tape = Path(folder) / "day.itch", Path(folder) / "tape"
        write_file(day, seed=4, instruments=500, seconds=messages / 100_000, messages_per_s=100_000)
        file = open_itch(day)
        planned = plan(pipeline, {"itch": file.framing})
        with Tape.create(tape, manifest_of(planned, file.midnight_ns, {})) as writer:
            for _, payload in file:
                writer.append(0, DATA, bytes(payload), 0)
            writer.append(0, END, b"", 0)
            writer.sync()
        expected = batch.run(
            batch.make_engine(pipeline, midnight_ns=file.midnight_ns), frames_of(file)
        )
        began_s = time.perf_counter()
        node = EdgeNode(
            pipeline,
            tape,
            framing={"itch": file.framing},
            midnight_ns=file.midnight_ns,
            resume=True,
        )
        digests = digests_of(node.plan)
        node.recover(digests)
        recover_s = time.perf_counter() - began_s
        node.tape.close()
        found = {name: digest.hexdigest() for name, digest in digests.items()}
    return {
        "answer_ok": found == expected.digests,
        "recover_s": round(recover_s, 2),
        "recover_events": expected.counts.events,
    }
