"""Make docs/pictures/demo.svg: the demo's screen, a picture a second, as a moving SVG."""

import io
import re
import time
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console

from onetape.cli import main as onetape
from onetape.runtimes.demo import command as demo
from onetape.runtimes.demo.view import View

OUT = Path(__file__).with_name("demo.svg")
COLUMNS, LINES = 100, 30
FRAME_S, LAST_S = 1.0, 4.0
DEMO = ["demo", "--seconds", "12", "--seed", "7", "--json"]

STYLE = """\
.frame {{ visibility: hidden; animation: {total_s}s step-end infinite shown }}
.last {{ visibility: visible; animation-name: last-shown }}
@keyframes shown {{ 0% {{ visibility: visible }} {frame}% {{ visibility: hidden }} }}
@keyframes last-shown {{ 0% {{ visibility: visible }} {last}% {{ visibility: hidden }} }}
"""


class Recorder(View):
    """A view that keeps its pictures instead of showing them."""

    pictures: ClassVar[list[Any]] = []

    def refresh(self, *, last: bool = False) -> None:
        now_s = time.monotonic()
        if now_s - self._drawn_s >= FRAME_S or last:
            self._drawn_s = now_s
            self.pictures.append(self.picture())


def main() -> None:
    demo.View = Recorder  # type: ignore[misc]
    onetape(DEMO)
    frames = [_svg(picture, i) for i, picture in enumerate(Recorder.pictures)]
    total_s = FRAME_S * (len(frames) - 1) + LAST_S
    style = STYLE.format(
        total_s=total_s,
        frame=round(100 * FRAME_S / total_s, 3),
        last=round(100 * LAST_S / total_s, 3),
    )
    body = "".join(
        f'<g class="frame{" last" * (i == len(frames) - 1)}" '
        f'style="animation-delay: {i * FRAME_S - total_s}s">{frame}</g>\n'
        for i, frame in enumerate(frames)
    )
    size = re.search(r'viewBox="(.*?)"', frames[-1])
    assert size is not None
    OUT.write_text(
        f'<svg viewBox="{size[1]}" xmlns="http://www.w3.org/2000/svg">\n'
        f"<style>{style}</style>\n{body}</svg>\n"
    )


def _svg(picture: Any, i: int) -> str:
    console = Console(record=True, width=COLUMNS, height=LINES, file=io.StringIO())
    lines = console.render_lines(picture)
    console.print(picture, *[""] * max(LINES - len(lines), 0), sep="\n")
    svg = console.export_svg(title="make demo", unique_id=f"f{i}")
    return re.sub(r"@font-face \{.*?\}|<!--.*?-->", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    main()
