"""Rows as files, one a sink. Parquet is complete or not there; text grows as rows are made.

A run that is resumed makes its rows again from the first on, so a text file is begun anew and is,
at each moment, a prefix of the answer.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from onetape.connect.sinks.taking import OpenableSink, Output, Taker
from onetape.records import DeclarationError, OperatorError


@dataclass(frozen=True)
class ParquetFileSink(OpenableSink):
    """`ot.parquet("out/")`: out/OUTPUT.parquet, renamed into place when the run is over."""

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

    def take(self, rows: Any, origins: Any) -> None:
        symbols = self._output.symbols
        self._sink.write(self._output.name, rows, symbols if symbols is not None else [])

    def finish(self) -> None:
        self._files = self._sink.commit()

    def close(self) -> None:
        self._sink.__exit__(None, None, None)

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
    """`ot.csv("alerts.csv")`: a heading, then a line a row."""

    def open(self, output: Output) -> Taker:
        return _Csv(output, _opened(self.path), self.path)


@dataclass(frozen=True)
class JsonlSink(_TextSink):
    """`ot.jsonl("alerts.jsonl")`: a JSON object a line."""

    def open(self, output: Output) -> Taker:
        return _Lines(output, _opened(self.path), self.path)


@dataclass(frozen=True)
class StdoutSink(OpenableSink):
    """`ot.stdout()`: a line a row on the terminal, its fields by name."""

    def open(self, output: Output) -> Taker:
        return _Printed(output, sys.stdout, "")


class _Lines:
    """A JSON object a line."""

    def __init__(self, output: Output, out: IO[str], path: str) -> None:
        self._output, self._out, self._path, self._rows = output, out, path, 0

    def take(self, rows: Any, origins: Any) -> None:
        self._rows += len(rows)
        self.write(self._output.dicts(rows))
        self._out.flush()

    def write(self, dicts: list[dict[str, Any]]) -> None:
        for told in dicts:
            self._out.write(json.dumps(told) + "\n")

    def finish(self) -> None:
        """A line is complete when it is written."""

    def close(self) -> None:
        if self._path:
            self._out.close()

    def told(self) -> str:
        return f"{self._rows:,} rows in {self._path}" if self._path else ""


class _Csv(_Lines):
    def __init__(self, output: Output, out: IO[str], path: str) -> None:
        import csv

        super().__init__(output, out, path)
        names = [n for n in output.of._fields if output.of.fields[n].length is None]
        if output.symbols is not None and "instrument_id" in names and "symbol" not in names:
            names.insert(0, "symbol")
        self._csv = csv.DictWriter(out, names, extrasaction="ignore", lineterminator="\n")
        self._csv.writeheader()

    def write(self, dicts: list[dict[str, Any]]) -> None:
        self._csv.writerows(dicts)


class _Printed(_Lines):
    def write(self, dicts: list[dict[str, Any]]) -> None:
        for told in dicts:
            fields = "  ".join(f"{k} {v}" for k, v in told.items() if not isinstance(v, list))
            self._out.write(f"{self._output.name}  {fields}\n")


def _opened(path: str) -> IO[str]:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return open(path, "w", newline="")
    except OSError as error:
        raise OperatorError(f"cannot write to {path}: {error.strerror}") from None
