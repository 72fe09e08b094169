"""What keeps the tables of a lake small and its past readable: compaction, retention, versions.

A version of a table can be read as long as the files it names are there. A vacuum removes files
that no current version names once they are older than the table's retention, and with them time
travel beyond it; so retention must not be shorter than the period an audit may ask for. Both are
properties of the table, which every engine heeds.
"""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from onetape.connect.lake import TAPE, output_table, store, tape_table
from onetape.records import OperatorError

RETENTION = "delta.deletedFileRetentionDuration"
HOURS = 24


def names_of(url: str | Path) -> list[str]:
    """The tables directly at a lake's address, in order."""
    store.deltalake()
    from deltalake.fs import DeltaStorageHandler
    from pyarrow.fs import FileSelector, FileType, PyFileSystem

    where = store.place(url)
    if "://" not in where and not Path(where).is_dir():
        raise OperatorError(f"{where} is no folder; give a lake: a folder or s3://BUCKET/PREFIX")
    with store.heard(f"{where} cannot be listed"):
        files = PyFileSystem(DeltaStorageHandler(where, store.options(where)))
        found = files.get_file_info(FileSelector("", recursive=False))
        inner = [info.base_name for info in found if info.type == FileType.Directory]
        return sorted(name for name in inner if store.open_table(store.place(url, name)))


def compact(url: str) -> dict[str, int]:
    """Few large files in place of many small ones; the rows stay, and so do older versions."""
    table = _table(url)
    of = tape_table if url.rsplit("/", 1)[-1] == TAPE else output_table
    with store.heard(f"{url} cannot be compacted"):
        done = table.optimize.compact(writer_properties=of.writer_properties())
    return {"files_before": int(done["numFilesRemoved"]), "files": int(done["numFilesAdded"])}


def audit_days(url: str) -> int:
    """For how many days every version stays readable."""
    words = _table(url).metadata().configuration.get(RETENTION, "interval 7 days").split()
    number, unit = int(words[1]), words[2].rstrip("s")
    hours = {"hour": 1, "day": HOURS, "week": 7 * HOURS}.get(unit)
    if hours is None:
        raise OperatorError(f"{url}: its {RETENTION} is {' '.join(words)!r}; expected days")
    return number * hours // HOURS


def set_audit_days(url: str, days: int) -> None:
    with store.heard(f"{url} cannot be changed"):
        _table(url).alter.set_table_properties(store.kept_for(days))


def vacuum(url: str, days: int, *, tries_only: bool = False) -> int:
    """Remove files that no version of the last `days` days names; how many they are.

    OperatorError: that is within the audit period.
    """
    if days < (least := audit_days(url)):
        raise OperatorError(
            f"{url}: versions of the last {least} days stay readable, and {days} were asked for; "
            f"--audit DAYS changes what stays, for good"
        )
    with store.heard(f"{url} cannot be vacuumed"):
        return len(_table(url).vacuum(days * HOURS, dry_run=tries_only, full=True))


def drop_before(url: str, day: date) -> int:
    """Take the rows of earlier days out of the current version; how many. The audit period holds:
    OperatorError for days within it. Older versions have them until a vacuum."""
    youngest = (datetime.now(UTC).date() - day).days
    if youngest < (least := audit_days(url)):
        raise OperatorError(
            f"{url}: days of the last {least} stay, and {day} is {youngest} days ago; --audit DAYS "
            "changes what stays, for good"
        )
    with store.heard(f"{url}: days cannot be dropped"):
        done = _table(url).delete(f"{store.DAY} < '{day.isoformat()}'")
    return int(done.get("num_deleted_rows") or 0)


def versions(url: str) -> list[dict[str, Any]]:
    """The versions of a table that the log still knows, the newest first."""
    with store.heard(f"{url} cannot be read"):
        history = _table(url).history()
    return [
        {
            "version": entry["version"],
            "at": datetime.fromtimestamp(entry["timestamp"] / 1000, UTC).isoformat(),
            "operation": entry.get("operation", ""),
            "about": entry.get("operationParameters", {}),
        }
        for entry in history
    ]


def extent(url: str) -> dict[str, Any]:
    """Version, files, bytes, rows and days of a table, by its log alone."""
    import pyarrow as pa

    table = _table(url)
    files = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    days = sorted(
        {str(f[f"partition.{store.DAY}"]) for f in files if f"partition.{store.DAY}" in f}
    )
    return {
        "version": table.version(),
        "files": len(files),
        "size_bytes": sum(file["size_bytes"] for file in files),
        "rows": sum(file["num_records"] or 0 for file in files),
        "days": days,
        "audit_days": audit_days(url),
    }


def _table(url: str) -> Any:
    table = store.open_table(url)
    if table is None:
        raise OperatorError(f"{url} is no Delta table; onetape lake ls lists those of a lake")
    return table
