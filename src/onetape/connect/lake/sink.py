"""Rows of an output into a Delta table, exactly once, while a node runs.

Only rows that a crash cannot take back are committed, by a thread of their own, some seconds or
half a million rows at a time. The application transaction is the tape, the number how many of its
rows are there; a run that is resumed makes its rows again from the first on, and those are passed
over.
"""

import hashlib
import json
import secrets
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from onetape.connect.lake.output_table import COMMIT_ROWS, OutputTable, RowsWriter
from onetape.connect.sinks.taking import OpenableSink, Output, Taker
from onetape.records import DeclarationError, OperatorError
from onetape.records.declare import copied
from onetape.tape.layout import read_facts

EVERY_S = 5.0
WAITING_MAX_ROWS = 1 << 23
NEVER = 1 << 62
AGAIN = (
    "rows of this very file and pipeline are there already, by another tape, and those of this one "
    "are added: each is there twice. Go on with that tape (--resume), or take another folder"
)


@dataclass(frozen=True)
class DeltaSink(OpenableSink):
    """A Delta table in a folder or an object store, named as the output, partitioned by day.

    ```python
    pipeline = ot.Pipeline(trade=trades >> ot.delta("lake/"))  # lake/trade
    ```

    Of a run with a tape each row is there once, also after a crash and `--resume`; rows of other
    tapes are added. A run without a tape has no name by which its rows could be known again: it
    takes the place of what is there, and what was there is an older version of the table. Needs
    deltalake (`pip install 'onetape[lake]'`). See docs/LAKE.md.
    """

    url: str

    def __post_init__(self) -> None:
        if not self.url:
            raise DeclarationError("delta was given ''; expected a folder or s3://BUCKET/PREFIX")

    def open(self, output: Output) -> Taker:
        return _Delta(self.url, output)


class _Delta:
    def __init__(self, url: str, output: Output) -> None:
        facts = read_facts(str(output.folder.parent)) if output.folder is not None else None
        name = f"{facts.tape_id:016x}" if facts else secrets.token_hex(8)
        run = f"tape/{name}/{output.name}/{output.number}"
        input = _input_of(facts.manifest, f"{output.name}/{output.number}") if facts else ""
        has_day = "ts_event_ns" in output.of.fields
        table = OutputTable(url, output.name, output.of, has_day=has_day, replaces=not facts)
        self._output, self._where = output, table.url
        self._is_again = bool(input) and not table.count(run) and table.count(input) > 0
        self._warns = self._is_again
        if input:
            table.marks[input] = 1
        self._writer = RowsWriter(table, run, None)
        self._waiting: list[tuple[int, Any]] = []  # (offset of the last row, rows)
        self._taken = self._handed = 0  # rows: of the output, and those that the writer has
        self._tried_s = time.monotonic()
        self._failure, self._has_ended = "", False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="delta")
        self._commit: Future[None] | None = None

    def take(self, rows: Any, origins: Any) -> None:
        if self._has_ended:
            return
        if self._taken - self._handed > WAITING_MAX_ROWS:
            self._has_ended = True
            return
        self._waiting.append((int(origins["tape_offset"].max()), copied(rows)))
        self._taken += len(rows)
        if self._taken - self._handed >= COMMIT_ROWS:
            self._begin()

    def tend(self) -> list[str]:
        if time.monotonic() - self._tried_s > EVERY_S:
            self._begin()
        if self._warns:
            self._warns = False
            return [f"{self._where}: {AGAIN}"]
        if self._has_ended:
            return [f"{self._where}: {self._failure}; too many rows wait, no more are written"]
        return [f"{self._where}: {self._failure}; rows wait"] if self._failure else []

    def finish(self) -> None:
        self._settle()
        self._begin(final=True)
        self._settle()
        if self._failure or self._has_ended:
            raise OperatorError(
                f"{self._where}: {self._failure or 'rows are missing'}; the rows are on the tape: "
                "run again with --resume"
            )

    def close(self) -> None:
        self._pool.shutdown(wait=True)

    def told(self) -> str:
        again = f"; {AGAIN}" if self._is_again else ""
        return f"{self._taken:,} rows to {self._where}{again}"

    def _begin(self, *, final: bool = False) -> None:
        """Have what cannot be taken back committed, unless a commit is under way."""
        if self._commit is not None and not self._commit.done():
            return
        self._settle()
        if self._failure and not final and time.monotonic() - self._tried_s < EVERY_S:
            return
        self._tried_s = time.monotonic()
        durable = NEVER if final or self._output.durable is None else self._output.durable()
        ready = 0
        while ready < len(self._waiting) and self._waiting[ready][0] < durable:
            ready += 1
        if ready or final:
            self._commit = self._pool.submit(self._write, self._waiting[:ready])

    def _settle(self) -> None:
        """Take note of how the last commit ended."""
        if self._commit is None:
            return
        try:
            self._commit.result()
            self._failure = ""
        except OperatorError as why:
            self._failure = str(why)
        self._commit = None

    def _write(self, blocks: list[tuple[int, Any]]) -> None:
        """In the pool's thread. Rows that the writer has are no longer ours."""
        symbols = self._output.symbols
        symbols = symbols if symbols is not None else []
        for _, rows in blocks:
            del self._waiting[0]
            self._handed += len(rows)
            self._writer.take(rows, symbols)
        self._writer.flush(symbols)


def _input_of(manifest: dict[str, Any], output: str) -> str:
    """What names the rows that this pipeline makes of this file, whichever tape; "": of no file."""
    origin = manifest.get("origin", {})
    if "sha256_of_ends" not in origin:
        return ""
    told = [origin["size_bytes"], origin["sha256_of_ends"], manifest["midnight_ns"]]
    text = json.dumps([*told, manifest["driver"]])
    return f"input/{hashlib.sha256(text.encode()).hexdigest()[:16]}/{output}"
