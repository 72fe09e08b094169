"""Rows as files, one a sink. Parquet is complete or not there; text grows as rows are made.

A run that is resumed makes its rows again from the first on, so a text file is begun anew and is,
at each moment, a prefix of the answer.
"""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onetape.connect.sinks.growing import GrowingFile
from onetape.connect.sinks.taking import OpenableSink, Output, Taker
from onetape.records import DeclarationError, OperatorError

_AGAIN = "the rows are on the tape: free some space and run again with --resume"


@dataclass(frozen=True)
class ParquetFileSink(OpenableSink):
    """A Parquet file in a folder, named as the output, renamed into place when the run is over.

    ```python
    pipeline = ot.Pipeline(trade=trades >> ot.parquet("out/"))  # out/trade.parquet
    ```
    """

    folder: str

    def open(self, output: Output) -> Taker:
        return _Parquet(Path(self.folder), output)


class _Parquet:
    def __init__(self, folder: Path, output: Output) -> None:
        from onetape.connect.parquet import ParquetSink

        self._output = output
        scale = {"price_scale": output.tick} if output.tick is not None else {}
        self._sink = ParquetSink(folder, {output.name: output.of}, scale, output.rules)
        self._sink.__enter__()
        self._files: list[Path] = []
        self._failure = ""

    def take(self, rows: Any, origins: Any) -> None:
        symbols = self._output.symbols
        if self._failure:
            return
        try:
            self._sink.write(self._output.name, rows, symbols if symbols is not None else [])
        except OperatorError as why:  # what runs goes on without the file
            self._failure = f"{self._output.name}.parquet will not be made: {why}; {_AGAIN}"

    def tend(self) -> list[str]:
        return [self._failure] if self._failure else []

    def finish(self) -> None:
        if self._failure:
            raise OperatorError(self._failure)
        self._files = self._sink.commit()

    def close(self) -> None:
        try:
            self._sink.__exit__(None, None, None)
        except OSError:
            if not self._failure:
                raise

    def told(self) -> str:
        return ", ".join(map(str, self._files))


@dataclass(frozen=True)
class _TextSink(OpenableSink):
    path: str

    def __post_init__(self) -> None:
        if not self.path or self.path.endswith("/"):
            raise DeclarationError(f"a file of rows was {self.path!r}; expected a file's path")


@dataclass(frozen=True)
class CsvSink(_TextSink):
    """A heading, then a line a row.

    ```python
    pipeline = ot.Pipeline(trade=trades >> ot.csv("trades.csv"))
    ```
    """

    def open(self, output: Output) -> Taker:
        return _Csv(output, self.path)


@dataclass(frozen=True)
class JsonlSink(_TextSink):
    """A JSON object a line.

    ```python
    pipeline = ot.Pipeline(trade=trades >> ot.jsonl("trades.jsonl"))
    ```
    """

    def open(self, output: Output) -> Taker:
        return _Lines(output, self.path)


@dataclass(frozen=True)
class StdoutSink(OpenableSink):
    """A line a row on the terminal, its fields by name.

    ```python
    pipeline = ot.Pipeline(trade=trades >> ot.stdout())
    ```
    """

    def open(self, output: Output) -> Taker:
        return _Printed(output)


class _Lines:
    """A JSON object a line."""

    def __init__(self, output: Output, path: str) -> None:
        self._output, self._file = output, GrowingFile(Path(path))
        self._rows = 0

    def take(self, rows: Any, origins: Any) -> None:
        if self._file.append(self.text(self._output.dicts(rows)).encode()):
            self._rows += len(rows)

    def text(self, dicts: list[dict[str, Any]]) -> str:
        return "".join(json.dumps(told) + "\n" for told in dicts)

    def tend(self) -> list[str]:
        if self._file.flush() and not self._file.has_ended:
            return []
        left = "its last rows are left out" if self._file.has_ended else "rows wait in memory"
        why = self._file.failure or "the disk was full for too long"
        return [f"cannot write to {self._file.path}: {why}; {left}"]

    def finish(self) -> None:
        for said in self.tend():
            raise OperatorError(f"{said}; {_AGAIN}")

    def close(self) -> None:
        self._file.close()

    def told(self) -> str:
        return f"{self._rows:,} rows in {self._file.path}"


class _Csv(_Lines):
    def __init__(self, output: Output, path: str) -> None:
        super().__init__(output, path)
        self._names = [n for n in output.of._fields if output.of.fields[n].length is None]
        has_id = "instrument_id" in self._names and "symbol" not in self._names
        if output.symbols is not None and has_id:
            self._names.insert(0, "symbol")
        self._file.append(self._csv([], heading=True).encode())

    def text(self, dicts: list[dict[str, Any]]) -> str:
        return self._csv(dicts)

    def _csv(self, dicts: list[dict[str, Any]], heading: bool = False) -> str:
        import csv
        import io

        out = io.StringIO()
        writer = csv.DictWriter(out, self._names, extrasaction="ignore", lineterminator="\n")
        if heading:
            writer.writeheader()
        writer.writerows(dicts)
        return out.getvalue()


class _Printed:
    def __init__(self, output: Output) -> None:
        self._output = output
        self._trouble = ""

    def take(self, rows: Any, origins: Any) -> None:
        if self._trouble:
            return
        try:
            for told in self._output.dicts(rows):
                fields = "  ".join(f"{k} {v}" for k, v in told.items() if not isinstance(v, list))
                sys.stdout.write(f"{self._output.name}  {fields}\n")
            sys.stdout.flush()
        except BrokenPipeError:  # as `| head` does: what else the pipeline does goes on
            self._trouble = f"output {self._output.name}: nobody reads stdout any more"
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def tend(self) -> list[str]:
        return [self._trouble] if self._trouble else []

    def finish(self) -> None:
        """A line is complete when it is written."""

    def close(self) -> None:
        """The terminal is not ours to close."""

    def told(self) -> str:
        return ""
