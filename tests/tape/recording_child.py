"""A process to kill: records frames on a tape and says on stdout what is durable.

python recording_child.py FOLDER COUNT

Prints `durable N` (N data frames of this tape were acknowledged) after each sync, and `done`. The
payload of data frame n is `payload_of(n)`, so that whoever recovers can tell what was invented.
"""

import os
import sys

SMALL = {"ring_bytes": 4096, "idle_sleep_ns": 20_000, "segments_ahead": 1}


def payload_of(n):
    return b"%d " % n * (n * 7 % 60)


def data_frames(folder):
    from onetape.tape.reader import frames

    return [payload for header, payload in frames(folder) if header.kind == 1]


def main(folder, count):
    from onetape.tape.tape import Tape

    if os.path.isdir(folder):
        tape = Tape.open(folder, **SMALL)
    else:
        tape = Tape.create(folder, {"child": 1}, segment_bytes=8192, **SMALL)
    done = len(data_frames(folder))
    for n in range(done, done + count):
        tape.append(1, 1, payload_of(n))
        if n % 3 == 0:
            tape.sync()
            print("durable", n + 1, flush=True)
    tape.close()
    print("durable", done + count, flush=True)
    print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
