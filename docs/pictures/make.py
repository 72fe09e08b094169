"""Make docs/pictures/demo.svg: the demo's screen after some seconds of a simulated day."""

import re
import tempfile
from pathlib import Path

from rich.console import Console

from onetape.connect.itch_file import open_itch
from onetape.runtimes.demo_view import View
from onetape.runtimes.edge.feeder import FileFeeder
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.standard import pipeline
from onetape.sim.exchange import write_file

OUT = Path(__file__).with_name("demo.svg")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        day = Path(folder) / "day.itch"
        write_file(day, seed=7, instruments=100, seconds=10.0, episodes=4)
        file = open_itch(day, chunk_bytes=1400)
        node = EdgeNode(pipeline, Path(folder) / "tape", midnight_ns=file.midnight_ns)
        view = View(node, 1.0, live=False)
        with node:
            feeder = FileFeeder(node, file, speed=4)
            feeder.start()
            while feeder.is_alive():
                for name, rows, _ in node.drain():
                    view.take(name, rows)
                picture = view.picture()
            for name, rows, _ in node.stop():
                view.take(name, rows)
        console = Console(record=True, width=100, file=(Path(folder) / "out").open("w"))
        console.print(picture)
        svg = console.export_svg(title="make demo")
        OUT.write_text(re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL))


if __name__ == "__main__":
    main()
