"""Tables of a lake: opened, made, and written to exactly once.

An application transaction is a name and a number that a commit carries. Delta records it and does
not judge it: a writer that says 29 twice has its rows there twice. What makes a write happen once
is the order of things here: open the table, look what number the name has come to, leave if it is
there already, and write with that very table object. If anybody has committed under the same name
since it was opened, that commit fails, and one looks again.

A folder is a lake, and so is `s3://BUCKET/PREFIX`; the store and who we are come from the
environment, as for checkpoints: AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_ALLOW_HTTP=true for a server without TLS. A commit there is one
conditional put, so the store must refuse to write what is there already (S3 does).
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from onetape.records import OperatorError

DAY = "day"
ALL = ""  # the predicate of all rows
AUDIT_DAYS = 1827  # five years, where nobody says how long: nothing is lost in silence
COMMIT_RETRIES = 100  # of an append, when others were quicker with that version
TRIES = 20
COLOURS = re.compile(r"\x1b\[\d*m")


class TakenBefore(Exception):
    """Somebody committed under the same name since the table was opened."""


def deltalake() -> Any:
    """The library; OperatorError if it is not installed."""
    try:
        import deltalake
    except ImportError:
        raise OperatorError(
            "a lake takes the library deltalake, which is not installed; "
            "install it: pip install 'onetape[lake]'"
        ) from None
    return deltalake


def place(url: str | Path, *names: str) -> str:
    """The address of a table, or of a prefix, in a lake."""
    text = str(url).rstrip("/") or "/"
    if "://" in text and not text.startswith(("s3://", "gs://", "az://", "file://")):
        raise OperatorError(
            f"a lake cannot be at {text!r}; expected a folder or s3://BUCKET/PREFIX"
        )
    return "/".join([text, *names])


def options(url: str) -> dict[str, str]:
    """What the store is told beside the environment."""
    if not url.startswith("s3://"):
        return {}
    allows_http = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("true", "1")
    return {"conditional_put": "etag"} | ({"allow_http": "true"} if allows_http else {})


def open_table(url: str, at: int | str | None = None) -> Any:
    """The DeltaTable there, or None.

    at  a version, or a time as ISO 8601: the table as it was

    OperatorError: the store refuses, or that version is not kept any more.
    """
    library = deltalake()
    with heard(f"{url} cannot be opened"):
        try:
            table = library.DeltaTable(url, storage_options=options(url))
        except library.exceptions.TableNotFoundError:
            if at is None:
                return None
            raise
        if isinstance(at, int) and at > table.version():
            raise OperatorError(
                f"{url} has no version {at}: the newest is {table.version()}; give that or an "
                "older one as --at (onetape lake versions shows those that are kept)"
            )
        if at is not None:
            table.load_as_version(at)
        return table


def make_table(url: str, schema: Any, by: list[str], audit_days: int = AUDIT_DAYS) -> Any:
    """The table there; a new one where there is none. Of several makers one makes it."""
    library = deltalake()
    table = open_table(url)
    if table is not None:
        return table
    with heard(f"{url} cannot be made"):
        try:
            if "://" not in url:
                Path(url).mkdir(parents=True, exist_ok=True)
            return library.DeltaTable.create(
                url,
                library.Schema.from_arrow(schema),
                mode="error",
                partition_by=by,
                configuration=kept_for(audit_days),
                storage_options=options(url),
            )
        except library.exceptions.DeltaError:  # somebody was quicker
            table = open_table(url)
            if table is None:
                raise
            return table


def kept_for(days: int) -> dict[str, str]:
    """The properties by which any engine keeps what time travel over so many days needs."""
    names = ("delta.logRetentionDuration", "delta.deletedFileRetentionDuration")
    return dict.fromkeys(names, f"interval {days} days")


def write(
    table: Any,
    data: Any,
    marks: Mapping[str, int],
    *,
    instead_of: str | None = None,
    properties: Any = None,
    **about: Any,
) -> None:
    """Commit rows, or rows in place of those a predicate names, together with their marks.

    table  as it was when the marks were looked up: TakenBefore if one of them has moved since
    """
    library = deltalake()
    transactions = [library.Transaction(name, number) for name, number in marks.items()]
    how: dict[str, Any] = {"mode": "append"}
    if instead_of is not None:
        how = {"mode": "overwrite", "predicate": instead_of or None}
    with heard(f"{table.table_uri} cannot be written"):
        try:
            library.write_deltalake(
                table,
                data,
                **how,
                **about,
                writer_properties=properties,
                commit_properties=library.CommitProperties(
                    app_transactions=transactions, max_commit_retries=COMMIT_RETRIES
                ),
            )
        except library.exceptions.CommitFailedError as why:
            if "oncurrent" not in str(why):
                raise
            raise TakenBefore from why


def remove(table: Any, which: str, marks: Mapping[str, int]) -> None:
    """Commit that the rows of a predicate are gone, together with marks."""
    library = deltalake()
    transactions = [library.Transaction(name, number) for name, number in marks.items()]
    with heard(f"{table.table_uri} cannot be written"):
        table.delete(
            which,
            commit_properties=library.CommitProperties(
                app_transactions=transactions, max_commit_retries=COMMIT_RETRIES
            ),
        )


def write_once(url: str, data: Any, mark: str, number: int, **how: Any) -> bool:
    """Write unless `mark` has come to `number`; whether it was done here."""
    for _ in range(TRIES):
        table = open_table(url)
        if came_to(table, mark) >= number:
            return False
        try:
            write(table, data, {mark: number}, **how)
            return True
        except TakenBefore:
            continue
    raise busy(url)


def came_to(table: Any, mark: str) -> int:
    """The number that a name has come to; -1 if it was never written."""
    number = table.transaction_version(mark)
    return -1 if number is None else int(number)


def busy(url: str) -> OperatorError:
    return OperatorError(
        f"{url}: others were quicker {TRIES} times; let one run write at a time, and run again"
    )


def days_are(days: list[date]) -> str:
    """The predicate of some days."""
    return f"{DAY} IN ({', '.join(repr(day.isoformat()) for day in days)})"


@contextmanager
def heard(what: str) -> Iterator[None]:
    """What a store or the library says, as an error for a person."""
    errors = deltalake().exceptions.DeltaError
    try:
        yield
    except (errors, OSError) as why:
        said = " ".join(COLOURS.sub("", str(why).split("\n\nDebug")[0]).split())
        raise OperatorError(f"{what}: {said[:500]}") from why
