"""A node that is swapped again and again, to be killed: python -m tests.runtimes.swap_child DIR."""

import sys
import time
from pathlib import Path

from tests.runtimes.swapping import ADDS, BY_RULE, WIDER, numbers, stored, version

from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.edge.swap import swap


def main(folder):
    pipeline = version(folder / "a", ADDS.format(times=1))
    with EdgeNode(pipeline, folder / "tape", checkpoint_every_s=0.05) as node:
        names = [
            stored(node, folder / "b", WIDER.format(migrate=BY_RULE)),
            node.version,
            stored(node, folder / "c", ADDS.format(times=100)),
            node.version,
        ]
        back = [False, True, False, False]
        count, turn = 0, 0
        while True:
            for _ in range(3):
                while not node.push(numbers(count, 100)):
                    list(node.drain())
                count += 100
                list(node.drain())
            swap(node, names[turn % 4], back=back[turn % 4])
            turn += 1
            if turn == len(names):  # all is compiled
                print("ready", flush=True)
            time.sleep(0.002)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
