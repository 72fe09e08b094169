"""Every row of every output, to the sinks that the pipeline or the command line names for it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from onetape.connect.sinks import ParquetFileSink
from onetape.connect.sinks.outbox import Outbox
from onetape.connect.sinks.taking import OpenableSink, Output, Replayed, Taker
from onetape.engine.frames import Run
from onetape.engine.graph import Pipeline
from onetape.runtimes.inputs import ticks_of
from onetape.tape.layout import read_facts
from onetape.tape.reader import read_segments

FOLDER = "sinks"  # in a tape's folder: what was delivered
ROWS_WAIT = 75  # exit status (EX_TEMPFAIL): all was run, and some rows nobody has taken yet


def rows_may_wait(pipeline: Pipeline) -> bool:
    """Is there a sink for which rows of a run that has ended may still wait?"""
    sinks = [sink for stream in pipeline.outputs.values() for sink in stream.sinks]
    return any(isinstance(sink, OpenableSink) and sink.waits for sink in sinks)


class Delivery:
    """`with Delivery(...) as delivery: delivery.take(name, rows, origins); delivery.finish()`.

    out      a folder for one Parquet file an output, beside what the pipeline says itself
    also     other sinks of an output, by its name
    symbols  of instruments: see `onetape.connect.arrow.symbol_at`; or None
    ticks    {output: what one tick is}; None: as the pipeline says
    durable  the offset from which on the tape is not yet durable; None: nothing is taken back
    folder   of the tape, where sinks remember what they delivered; None: they forget
    replay   the input once more, where there is no tape
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        out: Path | None = None,
        also: Callable[[str], list[OpenableSink]] = lambda name: [],
        symbols: Any = None,
        ticks: Mapping[str, Any] | None = None,
        durable: Callable[[], int] | None = None,
        folder: Path | None = None,
        replay: Replayed | None = None,
    ) -> None:
        self._stack = ExitStack()
        self._takers: dict[str, list[Taker]] = {}
        self._seen = set[str]()
        self._out, self._symbols, self._durable = out, symbols, durable
        self._also = also
        self._folder, self._replay = folder, replay
        self._kept = folder / FOLDER if folder is not None else None
        with ExitStack() as opening:  # if one cannot be opened, those that were are closed
            opening.callback(self._stack.close)
            self._open(pipeline, ticks_of(pipeline) if ticks is None else ticks)
            opening.pop_all()

    def _open(self, pipeline: Pipeline, ticks: Mapping[str, Any]) -> None:
        """The sinks of the outputs that have none yet."""
        for name, stream in pipeline.outputs.items():
            if name in self._seen:
                continue
            self._seen.add(name)
            sinks = [s for s in stream.sinks if isinstance(s, OpenableSink)]
            sinks += [ParquetFileSink(str(self._out))] if self._out is not None else []
            sinks += self._also(name)
            known = {"tick": str(ticks[name]) if name in ticks else None} if ticks else {}
            for n, sink in enumerate(sinks):
                again = _tape_of(pipeline, self._folder) if self._folder else self._replay
                about = Output(
                    name,
                    stream.of,
                    self._symbols,
                    pipeline.rules,
                    self._durable,
                    self._kept,
                    n,
                    replay=again,
                    **known,
                )
                taker = sink.open(about)
                self._stack.callback(taker.close)
                self._takers.setdefault(name, []).append(taker)

    def follow(self, pipeline: Pipeline) -> None:
        """Another version of the pipeline goes on: outputs that are new get their sinks."""
        self._open(pipeline, ticks_of(pipeline))

    def __bool__(self) -> bool:
        """Is there any sink? Without one, rows need not be made again when a run is resumed."""
        return bool(self._takers)

    def __enter__(self) -> "Delivery":
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()

    def take(self, name: str, rows: Any, origins: Any) -> None:
        for taker in self._takers.get(name, ()):
            taker.take(rows, origins)

    def tend(self) -> list[str]:
        """Try again what could not be done, and say what is wrong; to be called now and then."""
        return [said for taker in self._all() for said in taker.tend()]

    def finish(self) -> None:
        """The run came to its end. All sinks are told, also when one raises."""
        with ExitStack() as every:
            for taker in reversed(self._all()):
                every.callback(taker.finish)

    def told(self) -> list[str]:
        """What became of the rows, a line a sink; after leaving the block."""
        return [said for taker in self._all() if (said := taker.told())]

    def waiting(self) -> int:
        """Rows that nobody has taken yet; after leaving the block those that nobody took."""
        return sum(taker.waiting() for taker in self._all() if isinstance(taker, Outbox))

    def _all(self) -> list[Taker]:
        return [taker for takers in self._takers.values() for taker in takers]


def _tape_of(pipeline: Pipeline, folder: Path) -> Replayed:
    """The tape in the folder, as far as it is durable."""
    manifest = read_facts(str(folder)).manifest

    def runs(offset: int) -> Iterator[Run]:
        return read_segments(folder, offset)

    return Replayed(pipeline, manifest["framing"], manifest["midnight_ns"], runs, follows=True)
