"""Two versions of an output, day by day: which rows came, went, or say something else.

Rows are compared as a whole, as often as they are there; what only one version has came or went. A
row that went and one that came with the same time, instrument and rule are one row that changed.
"""

from datetime import date
from typing import Any

from onetape.connect.lake import store

KEYS = ("ts_event_ns", "instrument_id", "rule")
KINDS = ("added", "removed", "changed")
SAMPLE_ROWS = 5


def differences(old: Any, new: Any, day: date, sample: int = SAMPLE_ROWS) -> dict[str, Any]:
    """Of one output on one day; `old` and `new` are DeltaTables, or None. Holds the day's rows.

    Columns that only one version has are told, and not compared.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    tables = [_rows_of(table, day) for table in (old, new)]
    counts = [0 if table is None else len(table) for table in tables]
    told: dict[str, Any] = {"rows_before": counts[0], "rows": counts[1]}
    there = [table for table in tables if table is not None]
    names = [n for n in there[-1].column_names if all(n in t.column_names for t in there)]
    if alone := sorted({n for table in there for n in table.column_names} - set(names)):
        told["columns_not_compared"] = alone
    longest = _longest([table.select(names) for table in there])
    signed = [
        _flat(table.select(names), longest).append_column("sign", pa.array([sign] * len(table)))
        for table, sign in zip(tables, (-1, 1), strict=True)
        if table is not None and len(table)
    ]
    if not signed:
        return told | dict.fromkeys(KINDS, 0) | {"instruments": {}, "sample": []}
    both = pa.concat_tables(signed)
    compared = [name for name in both.column_names if name != "sign"]
    sums = both.group_by(compared).aggregate([("sign", "sum")])
    differ = sums.filter(pc.not_equal(sums["sign_sum"], 0))
    return told | _told(differ, [name for name in KEYS if name in compared], sample)


def _told(differ: Any, keys: list[str], sample: int) -> dict[str, Any]:
    """Distinct rows with `sign_sum`, so many more or fewer, as counts by kind and instrument."""
    import pyarrow as pa
    import pyarrow.compute as pc

    sign, zero = differ["sign_sum"], pa.scalar(0, pa.int64())
    who = next((name for name in ("symbol", "instrument_id") if name in differ.column_names), None)
    columns = {name: differ[name] for name in keys}
    columns["who"] = differ[who] if who else pa.array([""] * len(differ))
    columns["came"] = pc.max_element_wise(sign, zero)
    columns["went"] = pc.max_element_wise(pc.negate(sign), zero)
    wanted = [("who", "max"), ("came", "sum"), ("went", "sum")]
    if not keys:  # nothing tells which row became which
        columns["key"], keys = pa.array(range(len(differ))), ["key"]
    keyed = pa.table(columns).group_by(keys).aggregate(wanted)
    changed = pc.min_element_wise(keyed["came_sum"], keyed["went_sum"])
    counted = pa.table(
        {
            "who": keyed["who_max"],
            "added": pc.subtract(keyed["came_sum"], changed),
            "removed": pc.subtract(keyed["went_sum"], changed),
            "changed": changed,
        }
    )
    of = counted.group_by(["who"]).aggregate([(kind, "sum") for kind in KINDS]).sort_by("who")
    instruments = {
        str(row["who"]): {kind: row[f"{kind}_sum"] for kind in KINDS} for row in of.to_pylist()
    }
    total = {kind: sum(each[kind] for each in instruments.values()) for kind in KINDS}
    return total | {"instruments": instruments, "sample": _sample(differ, keyed, keys, sample)}


def _sample(differ: Any, keyed: Any, keys: list[str], sample: int) -> list[dict[str, Any]]:
    """The rows of the first few keys, before and after."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if keys == ["key"]:
        differ = differ.append_column("key", pa.array(range(len(differ))))
    first = keyed.sort_by([(name, "ascending") for name in keys]).slice(0, sample)
    found = []
    for key in first.select(keys).to_pylist():
        same = pa.array([True] * len(differ))
        for name, value in key.items():
            is_it = pc.is_null(differ[name]) if value is None else pc.equal(differ[name], value)
            same = pc.and_(same, pc.fill_null(is_it, False))
        rows = differ.filter(same).slice(0, 2 * sample).to_pylist()
        for row in rows:
            row.pop("key", None)
        went = [row for row in rows if row["sign_sum"] < 0]
        came = [row for row in rows if row["sign_sum"] > 0]
        for row in rows:
            del row["sign_sum"]
        found.append({"before": went, "after": came})
    return found


def _rows_of(table: Any, day: date) -> Any:
    if table is None:
        return None
    with store.heard(f"{table.table_uri} cannot be read"):
        which = [(store.DAY, "=", day)]
        made = table.to_pyarrow_dataset(file_pruning_predicate=which).to_table()
    return made.drop_columns([n for n in (store.DAY, "ts_event") if n in made.column_names])


def _longest(tables: list[Any]) -> dict[str, int]:
    """How many elements the lists of a column have at most."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found: dict[str, int] = {}
    for table in tables:
        for field in table.schema:
            if pa.types.is_list(field.type):
                most = pc.max(pc.list_value_length(table[field.name])).as_py() or 0
                found[field.name] = max(found.get(field.name, 0), most)
    return found


def _flat(table: Any, longest: dict[str, int]) -> Any:
    """Lists as a column for each element: rows are grouped by all of them. Those of a record have
    one length."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns: dict[str, Any] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name not in longest:
            columns[name] = column
        for n in range(longest.get(name, 0)):
            columns[f"{name}[{n}]"] = pc.list_element(column, n)
    return pa.table(columns)
