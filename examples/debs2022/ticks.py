"""The challenge's files as a source: rows with a price, by `ot.read`, in order of time.

A file has lines with '#' before its heading and one behind it. Nearly all rows are empty but for
the symbol; the evaluator keeps those of equities and indices whose Last is neither empty nor 0.
Times are local (CET), to the millisecond, and not in order: they are sorted, in memory.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from examples.debs2022.queries import TICKS_OF, Last

import onetape as ot

COLUMNS = ["ID", "SecType", "Date", "Time", "Last", "Trading time", "Trading date"]
MAPPED = {"ts_event_ns": "time", "price_ticks": "Last", "instrument_id": "ID", "kind": "SecType"}


def lasts(folder: Path) -> ot.Stream:
    """A source of `Last` over all the files of a folder."""
    import pyarrow as pa

    paths = sorted(folder.glob("debs2022-gc-trading-day-*.csv*"))
    if not paths:
        raise SystemExit(f"{folder} has no debs2022-gc-trading-day-*.csv: see zenodo.6382482")
    table = pa.concat_tables([table for path in paths for table in priced(path)])
    return ot.read(
        table,
        as_=Last,
        columns=MAPPED,
        tick=TICKS_OF,
        tz="Europe/Berlin",
        sort=True,
        name="lasts",
    )


def priced(path: Path) -> Iterator[Any]:
    """Tables of the rows with a price: their columns, and `time`."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    with pa.input_stream(str(path), compression="detect") as stream:
        lines = stream.read(1 << 16).decode("utf-8", "replace").splitlines()
    heading, first = [n for n, line in enumerate(lines) if not line.startswith("#")][:2]
    names = lines[heading].split(",")
    names += [""] * (lines[first].count(",") + 1 - len(names))  # rows end with a comma more
    with pa.input_stream(str(path), compression="detect") as stream:
        reader = csv.open_csv(
            stream,
            read_options=csv.ReadOptions(skip_rows=first, column_names=names),
            convert_options=csv.ConvertOptions(
                include_columns=COLUMNS, column_types=dict.fromkeys(COLUMNS, pa.string())
            ),
        )
        for batch in reader:
            table = pa.Table.from_batches([batch])
            price = pc.replace_substring_regex(table["Last"], "^0*[.]?0*$", "")
            kept = pc.and_(
                pc.not_equal(price, ""),
                pc.is_in(table["SecType"], pa.array(["E", "I"])),
            )
            table = table.filter(kept)
            time = _either(table["Trading time"], table["Time"])
            date = _either(table["Trading date"], table["Date"])
            iso = pc.replace_substring_regex(date, r"(\d+)-(\d+)-(\d+)", r"\3-\2-\1")
            yield table.append_column("time", pc.binary_join_element_wise(iso, time, "T"))


def _either(first: Any, second: Any) -> Any:
    """The first, or where it is empty the second."""
    import pyarrow.compute as pc

    return pc.if_else(pc.equal(first, ""), second, first)
