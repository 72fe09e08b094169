"""`stream >> ot.cases("desk-a", evidence="±5s")`: a case for each row, made beside the run.

Nothing of it is on the hot path. Where there is a tape, a thread follows what of it is durable;
without one (`ot.run`) the input is read once more at the end. A case is written when event time has
passed its evidence, and at the end of the input what is there, marked as not complete. Its name is
the row's identity, so whatever is made again after a restart finds its case there: each is written
once, and once more only if it was not complete before.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onetape.connect.sinks.taking import OpenableSink, Output, Replayed, Taker
from onetape.records import DeclarationError, OnetapeError, OperatorError
from onetape.records.places import here
from onetape.records.types import parse_duration_ns

FOLLOW_S = 0.2  # between two looks at the tape


@dataclass(frozen=True)
class CasesSink(OpenableSink):
    """A case for each row: the row, the events around it, and the book, in a folder of its own.

    ```python
    pipeline = ot.Pipeline(spoof=spoofs >> ot.cases("desk-a", evidence="±5s"))
    ```

    folder    of the queue; a case is `folder/ID/case.json` with a Parquet file a source beside it
    evidence  of event time around the row. Of sources with accounts it is what the account of the
              row's cause did, of others what happened to its instrument

    `onetape cases desk-a` lists them. DeclarationError: no duration.
    """

    folder: str
    evidence: str = "±5s"

    def __post_init__(self) -> None:
        if not self.folder or not isinstance(self.evidence, str):
            raise DeclarationError(
                here().says(
                    f"cases was given {self.folder!r} and evidence {self.evidence!r}; expected a "
                    "folder and a duration: ot.cases('desk-a', evidence='±5s')"
                )
            )
        parse_duration_ns(self.evidence.removeprefix("±"))

    def open(self, output: Output) -> Taker:
        return _Opened(output, Path(self.folder), parse_duration_ns(self.evidence.lstrip("±")))


class _Opened:
    def __init__(self, output: Output, folder: Path, around_ns: int) -> None:
        if output.replay is None:
            raise OperatorError(
                f"output {output.name}: cases are made from a tape; run the pipeline by `onetape "
                "run --tape DIR` or ot.run(...)"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as why:
            raise OperatorError(f"cannot make {folder}: {why.strerror}") from None
        self._output, self._folder, self._around_ns = output, folder, around_ns
        self._replay: Replayed = output.replay
        self._maker: Any = None
        self.written = self.incomplete = self.there = self._rows = 0
        self._failure = ""
        self._leave = threading.Event()
        self._thread: threading.Thread | None = None
        if self._replay.follows:
            self._make_maker()
            self._thread = threading.Thread(target=self._run, name="cases", daemon=True)
            self._thread.start()

    def take(self, rows: Any, origins: Any) -> None:
        """Rows are made again from the tape: here they are only counted."""
        self._rows += len(rows)

    def tend(self) -> list[str]:
        return [f"{self._folder}: {self._failure}"] if self._failure else []

    def finish(self) -> None:
        self._stop()
        if not self._failure and (self._rows or self._maker is not None):
            self._guarded(self._rest)
        if self._failure:
            raise OperatorError(
                f"{self._folder}: {self._failure}; the tape has it all: mend this and run again "
                "with --resume"
            )

    def close(self) -> None:
        self._stop()

    def told(self) -> str:
        made = self.written + self.incomplete
        said = f"{made:,} cases in {self._folder}"
        said += f", {self.incomplete:,} of them not complete" if self.incomplete else ""
        return said + (f"; {self.there:,} were there" if self.there else "")

    def _stop(self) -> None:
        self._leave.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._leave.wait(FOLLOW_S):
            if not self._guarded(self._follow):
                return

    def _guarded(self, step: Callable[[], None]) -> bool:
        """Do it; a failure is said, and ends nothing else."""
        try:
            step()
        except (OnetapeError, OSError) as why:
            self._failure = f"no more cases are made: {why}"
        return not self._failure

    def _follow(self) -> None:
        for buffer, begin, end in self._replay.runs(self._maker.following):
            self._write(self._maker.feed(buffer, begin, end))
            if self._leave.is_set():
                return

    def _rest(self) -> None:
        self._leave.clear()
        if self._maker is None:
            self._make_maker()
        self._follow()
        self._write(self._maker.finish())

    def _make_maker(self) -> None:
        from onetape.connect.cases.making import Maker

        replay = self._replay
        self._maker = Maker(
            replay.pipeline,
            self._output.name,
            replay.framing,
            replay.midnight_ns,
            before_ns=self._around_ns,
            after_ns=self._around_ns,
        )

    def _write(self, cases: Iterator[Any]) -> None:
        from onetape.connect.cases.files import document_of, is_there, write_case
        from onetape.connect.sinks.outbox import key_of

        for case in cases:
            row = {"ts_event_ns": int(case.row["ts_event_ns"])}
            name = key_of(self._output.name, row, case.origin)
            path = self._folder / name
            if is_there(path, complete=case.is_complete):
                self.there += 1
                continue
            document = document_of(name, self._folder.name, self._output, case, self._maker)
            write_case(path, document, case, self._maker)
            self.written += case.is_complete
            self.incomplete += not case.is_complete
