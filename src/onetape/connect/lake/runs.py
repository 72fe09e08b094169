"""What of a lake was computed, by which code, from which input: `URL/_runs`.

A shard of a day is told when it is begun, before its first row, and when it is done, behind its
last. So one can see whose rows a table holds, and a batch that was cut short does only the rest.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from onetape.connect.lake import RUNS, store
from onetape.records import OperatorError

BEGUN, DONE = "begun", "done"


@dataclass(frozen=True)
class Unit:
    """A shard of a day, as one run computes it.

    run      the pipeline's driver and the input, as one word: the same run, the same rows
    rows, digests   by output, when it is done
    """

    day: date
    shard: int
    shards: int
    run: str
    driver: str
    pipeline: str
    input: str
    state: str = BEGUN
    events: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    state_digest: str = ""
    elapsed_s: float = 0.0

    @property
    def mark(self) -> str:
        """What its commits are named by."""
        return f"{self.run}/{self.day}/{self.shard}"

    def done(self, **facts: Any) -> "Unit":
        return replace(self, state=DONE, **facts)


class RunsTable:
    """`URL/_runs`."""

    def __init__(self, url: str | Path) -> None:
        self.url = store.place(url, RUNS)
        store.make_table(self.url, _schema(), [store.DAY])

    def units(self) -> dict[tuple[date, int], Unit]:
        """The last thing told of each."""
        return units_at(self.url)

    def begin(self, units: list[Unit]) -> None:
        """Tell of those that are not told of. OperatorError: another run has begun such a day."""
        for _ in range(store.TRIES):
            table = store.open_table(self.url)
            there = units_of(table)
            runs = {day: unit.run for (day, _), unit in there.items()}
            for unit in units:
                if runs.get(unit.day, unit.run) != unit.run:
                    raise OperatorError(
                        f"{self.url}: another run has begun {unit.day} there ({runs[unit.day]}, "
                        f"this one is {unit.run}); let one pipeline write a day"
                    )
            new = [unit for unit in units if (unit.day, unit.shard) not in there]
            if not new:
                return
            try:
                store.write(table, _rows(new), {f"begun/{unit.day}": 1 for unit in new})
                return
            except store.TakenBefore:
                continue
        raise store.busy(self.url)

    def finish(self, unit: Unit) -> None:
        """Told once, however often the run is repeated."""
        store.write_once(self.url, _rows([unit]), f"done/{unit.mark}", 1)


def units_at(url: str) -> dict[tuple[date, int], Unit]:
    table = store.open_table(url)
    return {} if table is None else units_of(table)


def units_of(table: Any) -> dict[tuple[date, int], Unit]:
    found: dict[tuple[date, int], Unit] = {}
    with store.heard(f"{table.table_uri} cannot be read"):
        rows = table.to_pyarrow_dataset().to_table().to_pylist()
    for row in sorted(rows, key=lambda each: each["state"] == DONE):
        row = {name: value for name, value in row.items() if name != "at"}
        row |= {name: json.loads(row[name]) for name in ("rows", "digests")}
        found[row["day"], row["shard"]] = Unit(**row)
    return found


def _rows(units: Iterable[Unit]) -> Any:
    import pyarrow as pa

    now = datetime.now(UTC)
    rows = [asdict(unit) | {"at": now} for unit in units]
    for row in rows:
        row |= {name: json.dumps(row[name], sort_keys=True) for name in ("rows", "digests")}
    return pa.Table.from_pylist(rows, _schema())


def _schema() -> Any:
    import pyarrow as pa

    texts = ("run", "driver", "pipeline", "input", "state", "rows", "digests", "state_digest")
    return pa.schema(
        {
            store.DAY: pa.date32(),
            "shard": pa.int32(),
            "shards": pa.int32(),
            **dict.fromkeys(texts, pa.string()),
            "events": pa.int64(),
            "elapsed_s": pa.float64(),
            "at": pa.timestamp("us", "UTC"),
        }
    )
