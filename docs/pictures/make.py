"""Make docs/pictures/demo.svg: the demo's screen at the end of ten seconds of a simulated day.

    python docs/pictures/make.py

What `onetape demo --seconds 10` shows, drawn by the same code, at the same pace.
"""

import io
import re
import tempfile
import time
from pathlib import Path

from rich.console import Console

from onetape.connect.itch_file import open_itch
from onetape.runtimes.demo import CHUNK_BYTES
from onetape.runtimes.demo_view import View
from onetape.runtimes.edge.feeder import FileFeeder
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.standard import pipeline
from onetape.sim import write_file
from onetape.sim.exchange_options import TRADING_DATE

OUT = Path(__file__).with_name("demo.svg")
SPEED = 1.0


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        day = Path(folder) / "day.itch"
        write_file(day, seed=7, instruments=100, seconds=10.0, episodes=4)
        file = open_itch(day, trading_date=TRADING_DATE, chunk_bytes=CHUNK_BYTES)
        node = EdgeNode(pipeline, Path(folder) / "tape", midnight_ns=file.midnight_ns)
        view = View(node, SPEED, live=False)
        with node:
            feeder = FileFeeder(node, file, speed=SPEED)
            feeder.start()
            while feeder.is_alive():
                for name, rows, _ in node.drain():
                    view.take(name, rows)
                picture = view.picture()
                time.sleep(0.02)
            feeder.check()
            for name, rows, _ in node.stop():
                view.take(name, rows)
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(picture)
    svg = console.export_svg(title="make demo", unique_id="demo")
    # The fonts are not fetched from anywhere, and blanks at the ends of a text count.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    OUT.write_text(svg.replace("<svg ", '<svg xml:space="preserve" ', 1))


if __name__ == "__main__":
    main()
