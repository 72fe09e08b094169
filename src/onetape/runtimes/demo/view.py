"""The demo's screen: a table of instruments, the alerts, and what the loop is doing."""

import time
from collections import deque
from datetime import UTC, datetime
from typing import Any

import numpy as np

from onetape.codecs.feed import symbol_of
from onetape.engine.layout import FAR
from onetape.records.market import OPEN
from onetape.records.types import UNSET
from onetape.runtimes.edge.live import missing

FRAMES_PER_S = 8
ROWS = 14
ALERTS = 8
PRICE_SCALE = 10_000


class View:
    """Takes rows as they come; draws at most eight times a second. Does nothing when not live."""

    def __init__(self, node: Any, speed: float, network: Any, *, live: bool) -> None:
        self._node, self._speed, self._network = node, speed, network
        self._display: Any = None
        self._live = live
        self._tops: dict[int, Any] = {}
        self._vwaps: dict[int, Any] = {}
        self._trades: dict[int, int] = {}
        self._alerts: deque[str] = deque(maxlen=ALERTS)
        self._opened = 0
        self._at_ns = 0
        self._drawn_s = 0.0
        self._rate = (time.monotonic(), 0, 0.0)

    def __enter__(self) -> "View":
        if self._live:
            from rich.live import Live

            self._display = Live(self.picture(), auto_refresh=False, transient=False)
            self._display.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._display is not None:
            self._display.__exit__(*error)

    def take(self, name: str, rows: Any) -> None:
        """Keep what the screen shows of a block of rows."""
        if name == "top_of_book":
            self._tops.update(_last_of_each(rows))
        elif name == "vwap":
            wide = rows[rows["width_ns"] >= 10**9]
            self._vwaps.update(_last_of_each(wide))
        elif name == "trade":
            ids, counts = np.unique(rows["instrument_id"], return_counts=True)
            for i, n in zip(ids.tolist(), counts.tolist(), strict=True):
                self._trades[i] = self._trades.get(i, 0) + n
        elif name == "alert":
            for alert in rows:
                self._opened += int(alert["state"]) == OPEN
                self._alerts.append(self._alert_line(alert))

    def refresh(self, *, last: bool = False) -> None:
        now_s = time.monotonic()
        if self._display is None or (now_s - self._drawn_s < 1 / FRAMES_PER_S and not last):
            return
        self._drawn_s = now_s
        self._display.update(self.picture(), refresh=True)

    def picture(self) -> Any:
        """What is on the screen now, as a rich renderable."""
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, expand=False, pad_edge=False)
        table.add_column("instrument", style="bold")
        for heading in ("bid size", "bid", "ask", "ask size", "VWAP 1 s", "trades"):
            table.add_column(heading, justify="right")
        busiest = sorted(self._tops, key=lambda i: (-self._trades.get(i, 0), i))[:ROWS]
        for i in busiest:
            top, vwap = self._tops[i], self._vwaps.get(i)
            table.add_row(
                self._symbol(i),
                f"{int(top['bid_qty_lots']):,}",
                f"[green]{_price(top['bid_price_ticks'])}[/]",
                f"[red]{_price(top['ask_price_ticks'])}[/]",
                f"{int(top['ask_qty_lots']):,}",
                _vwap(vwap) if vwap is not None else "",
                f"{self._trades.get(i, 0):,}",
            )
        head = Text.from_markup(self._head())
        alerts = "\n".join(self._alerts) or "[dim]no alerts yet[/]"
        return Group(head, table, Text.from_markup(f"[bold]alerts[/]\n{alerts}"))

    def _head(self) -> str:
        feed = self._node.engine.arrays["n0_feed"][0]
        messages = int(feed["messages"])
        was_s, was, rate = self._rate
        now_s = time.monotonic()
        if now_s - was_s >= 1:
            rate = (messages - was) / (now_s - was_s)
            self._rate = (now_s, messages, rate)
        elif was == 0:
            rate = messages / max(now_s - was_s, 1e-3)
        at_ns = int(self._node.engine.sources["watermark_ns"][0])
        self._at_ns = at_ns if 0 < at_ns < FAR else self._at_ns  # at the end time is endless
        pace = f"{self._speed:g}x" if self._speed else "as fast as it goes"
        return (
            f"[bold]onetape[/]  feed time [cyan]{_clock(self._at_ns)}[/] UTC ({pace})   "
            f"[bold]{messages:,}[/] messages, [bold]{rate:,.0f}[/]/s   "
            f"alerts [yellow]{self._opened}[/]\n{self._lines(feed)}"
        )

    def _lines(self, feed: Any) -> str:
        """What the lines bring, and what is missing."""
        state = "[green]whole[/]"
        if feed["stale"]:
            state = "[bold red]stale[/]"
        elif feed["gap_open"]:
            state = f"[yellow]waiting for {missing(feed)}[/]"
        told = [f"{line['name']} {line['packets']:,}" for line in self._node.line_statistics()]
        drops = self._network.drops() if self._network is not None else 0
        return (
            (f"datagrams  {'   '.join(told)}   " if told else "")
            + f"gaps {int(feed['gaps']):,}   lost {int(feed['gap_messages']):,}   "
            + f"duplicates {int(feed['duplicates']):,}   kernel drops {drops:,}   {state}"
        )

    def _symbol(self, i: int) -> str:
        return symbol_of(int(self._node.engine.arrays["n0_feed"]["symbols"][0][i])) or str(i)

    def _alert_line(self, alert: Any) -> str:
        symbol = self._symbol(int(alert["instrument_id"]))
        when = _clock(int(alert["ts_event_ns"]))
        if int(alert["state"]) == OPEN:
            return f"{when}  [yellow]burst cancel[/] [bold]{symbol}[/] began"
        lasted_ms = (int(alert["ts_event_ns"]) - int(alert["first_ts_ns"])) / 1e6
        count = int(alert["events_count"])
        return f"{when}  burst cancel [bold]{symbol}[/] over: {count} cancels in {lasted_ms:.0f} ms"


def _last_of_each(rows: Any) -> dict[int, Any]:
    """The last row of each instrument in a block, copied."""
    backwards = rows[::-1]
    ids, first = np.unique(backwards["instrument_id"], return_index=True)
    return {int(i): backwards[at].copy() for i, at in zip(ids, first, strict=True)}


def _price(ticks: Any) -> str:
    return "" if int(ticks) == UNSET else f"{int(ticks) / PRICE_SCALE:,.2f}"


def _vwap(row: Any) -> str:
    return f"{int(row['notional_ticklots']) / int(row['qty_lots']) / PRICE_SCALE:,.4f}"


def _clock(ts_ns: int) -> str:
    if ts_ns <= 0 or ts_ns > 1 << 61:
        return "--:--:--"
    return datetime.fromtimestamp(ts_ns / 1e9, UTC).strftime("%H:%M:%S.%f")[:-3]
