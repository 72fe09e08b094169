"""What `onetape dev` shows: each output with its last rows, types and rate; a mistake in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from onetape.runtimes.dev.words import time_of

if TYPE_CHECKING:
    from onetape.runtimes.dev.dev import Output, Round

FIELDS_SHOWN = 8


class Screen:
    """Draws rounds while they grow; silent when not live."""

    def __init__(self, file: str, source: str, *, live: bool) -> None:
        self._file, self._source, self._live = file, source, live
        self._good: Round | None = None  # the last one without a mistake
        self._display: Any = None

    def __enter__(self) -> Self:
        if self._live:
            from rich.live import Live

            waiting = f"{self._file}: compiling; the first time takes some ten seconds"
            self._display = Live(waiting, auto_refresh=False)
            self._display.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._display is not None:
            self._display.__exit__(*error)

    def show(self, made: Round) -> None:
        """Draw a round; after a mistake with the rows of the last good one."""
        if not made.error:
            self._good = made
        if self._display is not None:
            head = f"{self._file} over {self._source}"
            self._display.update(picture(made, self._good, head), refresh=True)


def text_of(made: Round) -> str:
    """The picture as text, wide enough for all its fields."""
    from rich.console import Console

    console = Console(width=160, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(picture(made, made, ""))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def picture(made: Round, good: Round | None, head: str) -> Any:
    """Something that rich can print."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    parts: list[Any] = [Text(f"{head}  {_summary(made)}".strip(), style="bold")]
    if made.error:
        title = "a mistake" if good is None or good is made else "a mistake; below, what ran before"
        parts.append(Panel(Text(made.error), title=title, style="red", title_align="left"))
    if good is not None:
        run_s = max(good.run_s, 1e-9)
        parts += [_table(name, output, run_s) for name, output in good.outputs.items()]
    return Group(*parts)


def _summary(made: Round) -> str:
    since = "start" if made.number == 1 else "save"
    first = f", first row {made.first_row_s:.2f} s after {since}" if made.first_row_s else ""
    rate = made.events / max(made.run_s, 1e-9)
    return (
        f"round {made.number}: {made.events:,} events, {rate:,.0f} a second; "
        f"compiled in {made.compile_s:.2f} s{first}"
    )


def _table(name: str, output: Output, run_s: float) -> Any:
    from rich.table import Table

    title = f"{name}: {output.rows:,} {output.record}, {output.rows / run_s:,.0f} a second"
    table = Table(title=title, title_justify="left", title_style="bold", box=None)
    shown = list(output.types)[:FIELDS_SHOWN]
    for field in shown:
        table.add_column(f"{field}\n{output.types[field]}", justify="right", no_wrap=True)
    if len(output.types) > len(shown):
        table.add_column(f"and {len(output.types) - len(shown)} more")
    for row in output.last:
        table.add_row(*(_cell(field, row[field]) for field in shown))
    return table


def _cell(field: str, value: Any) -> str:
    if field == "ts_event_ns":
        return time_of(value).partition(" ")[2] or str(value)
    text = str(value)
    return text if len(text) <= 20 else f"{text[:17]}..."
