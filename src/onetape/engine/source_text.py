"""The driver's text for sources: frames, the events in them, and the watermark they move."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from onetape.codecs import FRAMINGS
from onetape.codecs.feed import EVENT, GAP, LINES_MAX, new_feed
from onetape.codecs.framing import Framing
from onetape.compiled import atomics, frame, index, rows, timers
from onetape.engine import keyed, layout, operator_text, stages
from onetape.engine.operator_node import OperatorNode
from onetape.engine.sources import Source
from onetape.records import UNSET, empty_block
from onetape.records.market import LATE, STALE, Gap

if TYPE_CHECKING:
    from onetape.engine.planner import _Planner


def import_names(planner: _Planner) -> None:
    """Everything the fixed parts of a driver name."""
    for module, names in (
        (rows, ("row", "row_at", "fixed", "clear_row", "copy_row", "put_row")),
        (atomics, ("load_acquire", "store_release")),
        (timers, ("NEVER", "first", "set_timer")),
        (keyed, ("slot_of", "slot_only", "rearm", "rearm_earlier")),
        (
            layout,
            (
                "DONE",
                "OUT_FULL",
                "AT_CAPACITY",
                "PAUSED",
                "EVENT_ROOT",
                "TIMER_ROOT",
                "GAP_ROOT",
                "FAR",
            ),
        ),
        (index, ("LIMIT", "COUNT")),
        (
            frame,
            (
                "HEADER_BYTES",
                "DATA",
                "TICK",
                "END",
                "PAD",
                "frame_bytes",
                "frame_kind",
                "frame_length",
                "frame_offset",
                "frame_source",
                "frame_ts_recv_ns",
            ),
        ),
    ):
        for name in names:
            planner.name(name, getattr(module, name))
    planner.name("next_wake_of", timers.next_wake)
    for name, value in (
        ("EVENT", EVENT),
        ("GAP", GAP),
        ("LATE", LATE),
        ("STALE", STALE),
        ("UNSET", UNSET),
    ):
        planner.name(name, value)


def begin_root(planner: _Planner, source: Source, n: int) -> None:
    if isinstance(source, stages.Handed):
        _begin_handed(planner, source, n)
        return
    label = planner.label(source)
    planner.text.add(
        "root = EVENT_ROOT",
        "root_sequence = sequence",
        f"root_source = {n}",
        "root_key = 0",
        "root_late = late",
        "root_time = watermark",
        "reached_ns = watermark",
        "r.index = index",  # for the message, if a step raises
        *planner.place(layout.AT_EVENT),
        *stages.settle(planner),
        *stale(planner),
    )
    if source.feed:
        planner.text.add(f"event = row(x{n}_events, 0)")
        with planner.text.block(f"if stale{n} | late"):
            planner.text.add(f"event.flags |= stale{n} * STALE | late * LATE")
        planner.text.add(f"{label}_event = fixed(event)")
    else:
        planner.text.add(f"event = row_at(x{n}_events, buffer, event_at)")
        if "flags" in source.of.fields:
            with planner.text.block("if late"):  # on a copy: the event itself is the tape
                planner.text.add(
                    f"put_row(x{n}_events, 0, event)",
                    f"event = row(x{n}_events, 0)",
                    "event.flags |= LATE",
                )
        planner.text.add(f"{label}_event = fixed(event)")


def begin_gap(planner: _Planner, source: Source, n: int) -> None:
    label = planner.label(source)
    planner.text.add(
        f"gap = row(x{n}_gaps, 0)",
        "root = GAP_ROOT",
        "root_sequence = gap.first_sequence",
        f"root_source = {n}",
        "root_key = gap.state",
        "root_late = 0",
        "root_time = watermark",
        "reached_ns = watermark",
        "r.index = index",
        *planner.place(layout.AT_GAP),
        *stages.settle(planner),
        *stale(planner),
    )
    with planner.text.block(f"if stale{n}"):
        planner.text.add("gap.flags |= STALE")
    planner.text.add(f"{label}_gap = fixed(gap)")


def stale(planner: _Planner) -> list[str]:
    """Has a feed lost messages? Known at each root's begin, for what it makes."""
    feeds = [n for n, source in enumerate(planner.pipeline.sources) if source.feed]
    return [f"stale{n} = row(n{n}_feed, 0).stale" for n in feeds]


def next_event(planner: _Planner) -> None:
    """Read the next event of the frame; the watermark moves before the event is processed."""
    text = planner.text
    for n, source in enumerate(planner.pipeline.sources):
        label = planner.label(source)
        block = planner.array(f"x{n}_events", partial(np.zeros, 1, source.of.dtype))
        with text.block(f"{'if' if n == 0 else 'elif'} source == {n}"):
            if isinstance(source, stages.Handed):
                _next_handed(planner, source, n)
                continue
            if source.feed:
                step = planner.name(f"{label}_next", _framing(planner, source).next_message)
                gaps = planner.array(f"x{n}_gaps", partial(empty_block, Gap, 1))
                text.add(
                    f"at, result = {step}(row({label}_feed, 0), {label}_held, buffer, at, stop, "
                    f"ts_recv_ns, {block}, {gaps})"
                )
                stages.note_loss(planner, source)
                with text.block("if result != EVENT"):
                    if planner.is_wired(source.gaps()):
                        with text.block("if result == GAP"):
                            text.add(f"pending = {-(n + 1)}")
                    text.add("continue")
                _look_ahead(planner, source)
                text.add(
                    f"ts = row({block}, 0).ts_event_ns",
                    f"sequence = row({block}, 0).sequence",
                    f"s{n} += 1",
                )
            else:
                text.add(
                    f"ts = row_at({block}, buffer, at).ts_event_ns",
                    "event_at = at",
                    f"at += {source.of.dtype.itemsize}",
                    f"s{n} += 1",
                    f"sequence = s{n}",
                )
                # No venue is older than the epoch, and beyond FAR no sum with a duration is safe.
                with text.block("if ts < 0 or ts >= FAR"):
                    text.add("index += 1", "r.bad_events += 1", "continue")
            lag = f" - {source.lateness_ns}" if source.lateness_ns else ""
            with text.block(f"if s{n} == 1"):  # until now its time was the receiver's clock
                text.add(f"w{n} = min(w{n}, ts{lag})")
                with text.block("if events == 0"):  # and nothing has gone by it: it may go back
                    text.add(f"watermark = {_least(planner)}")
            text.add("late = 0")
            with text.block(f"if ts < w{n}"):
                text.add("late = 1", "r.late_events += 1")
            with text.block(f"if ts{lag} > w{n}"):
                text.add(f"w{n} = ts{lag}", f"watermark = {_watermark(planner)}")
            text.add(f"pending = {n + 1}")
    text.add("events += 1", "index += 1")


def _next_handed(planner: _Planner, source: stages.Handed, n: int) -> None:
    """A row that another stage hands over comes with its root, and with how far time had come."""
    hands = planner.array(f"x{n}_hands", partial(np.zeros, 1, source.hands))
    over = planner.array("n_over", partial(np.zeros, 1, np.int64))
    planner.text.add(
        f"hand = row_at({hands}, buffer, at)",
        f"event_at = at + {stages.HAND_BYTES}",
        f"at += {source.hands.itemsize}",
        f"s{n} += 1",
        "watermark = max(watermark, hand.hand_watermark_ns)",
        "late = 0",
        "sequence = hand.hand_sequence",
        f"pending = {n + 1}",
    )
    with planner.text.block(f"if hand.hand_cause & {stages.OVER_BIT}"):
        planner.text.add(f"{over}[0] = 1")


def _begin_handed(planner: _Planner, source: stages.Handed, n: int) -> None:
    """Go on with the root that another stage began."""
    more = planner.array("n_more", partial(np.zeros, 1, np.int64))
    planner.text.add(
        f"hand = row_at(x{n}_hands, buffer, event_at - {stages.HAND_BYTES})",
        f"root = (hand.hand_cause >> {stages.ROOT_SHIFT}) & 255",
        "root_sequence = hand.hand_sequence",
        f"root_source = (hand.hand_cause >> {stages.SOURCE_SHIFT}) & 255",
        "root_key = hand.hand_key",
        f"root_late = hand.hand_cause & {stages.LATE_BIT}",
        "root_time = hand.hand_reached_ns",
        "reached_ns = max(reached_ns, root_time)",
        f"made_rows = hand.hand_index << {stages.INDEX_BITS}",
        f"{more}[0] = hand.hand_cause & {stages.MORE_BIT}",  # timers wait for the root's last row
        "r.index = index",
        *planner.place(layout.AT_EVENT),
        *stages.stale(planner, of_row=True),
        f"{planner.label(source)}_event = fixed(row_at(x{n}_events, buffer, event_at))",
    )


def _look_ahead(planner: _Planner, source: Source) -> None:
    """While this event is processed, the memory that the next two need can be on its way."""
    books = [
        node
        for node in planner.pipeline.nodes
        if isinstance(node, OperatorNode)
        and node.spec.foresee is not None
        and any(stream.node is source for _, stream in node.inputs)
    ]
    if not books:
        return
    peek = planner.name("peek", _framing(planner, source).peek)
    planner.text.add(
        f"order_id, ahead = {peek}(buffer, at, stop)",
        f"later_id, ahead = {peek}(buffer, ahead, stop)",
    )
    for node in books:
        hint = planner.name(f"{planner.label(node)}_foresee", node.spec.foresee)
        planner.text.add(f"{hint}({operator_text.tables(planner, node)}, order_id, later_id)")


def next_frame(planner: _Planner) -> None:
    """Open the next frame, or leave the loop when there is none."""
    text = planner.text
    with text.block("if frame_at >= end"):
        text.add("break")
    text.add(
        "payload = frame_at + HEADER_BYTES",
        "length = frame_length(buffer, frame_at)",
        "kind = frame_kind(buffer, frame_at)",
        "offset = frame_offset(buffer, frame_at)",
        "r.offset = offset",
        "line = frame_source(buffer, frame_at) >> 8",
        "source = frame_source(buffer, frame_at) & 255",
        "ts_recv_ns = frame_ts_recv_ns(buffer, frame_at)",
        "frame_at += frame_bytes(length)",
        "index = -1",
        *(["fired = 0"] if planner.timed else []),
    )
    with text.block("if kind == PAD"):
        text.add("continue")
    text.add("r.frames += 1")
    for n, source in enumerate(planner.pipeline.sources):
        label = planner.label(source)
        with text.block(f"{'if' if n == 0 else 'elif'} source == {n}"):
            with text.block("if kind == DATA"):
                text.add("r.data_frames += 1")
                text.add(
                    f"row(sources, {n}).recv_ns = ts_recv_ns",
                    f"row(sources, {n}).silent_ns = UNSET",
                )
                if source.feed:
                    framing = _framing(planner, source)
                    planner.array(f"{label}_feed", partial(new_feed, 0, source.patience_ns))
                    planner.array(f"{label}_held", partial(np.zeros, framing.held_bytes, np.uint8))
                    start = planner.name(f"{label}_open", framing.open_packet)
                    text.add(
                        "stop = payload + length",
                        f"at = {start}(row({label}_feed, 0), {label}_held, buffer, payload, stop, "
                        f"line & {LINES_MAX - 1}, ts_recv_ns)",
                    )
                    stages.note_loss(planner, source)
                else:
                    size = getattr(source, "hands", source.of.dtype).itemsize
                    with text.block(f"if length % {size} == 0"):
                        text.add("at = payload", "stop = payload + length")
                    with text.block("else"):
                        text.add("r.bad_frames += 1")
            with text.block("elif kind == TICK"):
                text.add("r.ticks += 1", f"s = row(sources, {n})")
                if source.feed and stages.hands_over(planner):
                    text.add("before = watermark")
                if source.feed:  # while messages are missing its time stands still, as its books do
                    with text.block(f"if row({label}_feed, 0).gap_open == 0"):
                        _move_time(planner, source, n)
                elif isinstance(source, stages.Handed):
                    text.add("watermark = max(watermark, ts_recv_ns)")
                else:
                    _move_time(planner, source, n)
                if source.feed:
                    _pass_time(planner, source, 0)
                    stages.note_loss(planner, source, "before")
            with text.block("elif kind == END"):
                if source.feed:
                    _pass_time(planner, source, 1)
                    stages.note_loss(planner, source)
                    with text.block("if at < stop"):  # what waits comes first, then this frame
                        text.add("frame_at = payload - HEADER_BYTES", "r.frames -= 1", "continue")
                text.add(
                    f"w{n} = FAR",
                    f"row(sources, {n}).ended = 1",
                    f"watermark = {_watermark(planner)}",
                )
    with text.block("elif kind == DATA"):
        text.add("r.bad_frames += 1")


def _move_time(planner: _Planner, source: Source, n: int) -> None:
    """While a source is silent its time goes on with the receiver's clock, from where silence found
    it. One that has not spoken yet, or without receive times: that clock is all there is."""
    text = planner.text
    with text.block("if s.silent_ns == UNSET"):
        text.add(f"s.silent_ns = w{n}")
    text.add("reached = ts_recv_ns")
    with text.block("if s.silent_ns != UNSET and 0 < s.recv_ns < ts_recv_ns < FAR"):
        text.add("reached = s.silent_ns + (ts_recv_ns - s.recv_ns)")
    with text.block(f"if reached - {source.idle_ns} > w{n}"):
        text.add(
            f"w{n} = min(reached - {source.idle_ns}, FAR)",
            f"watermark = {_watermark(planner)}",
        )


def _pass_time(planner: _Planner, source: Source, is_over: int) -> None:
    label = planner.label(source)
    tell = planner.name(f"{label}_pass_time", _framing(planner, source).pass_time)
    planner.text.add("stop = payload", f"at = {tell}(row({label}_feed, 0), payload, {is_over})")


def _framing(planner: _Planner, source: Source) -> Framing:
    return FRAMINGS[planner.framing[source.name]]


def _watermark(planner: _Planner) -> str:
    """The least of all sources' watermarks; it never goes back."""
    if len(planner.pipeline.sources) == 1:
        return _least(planner)
    return f"max(watermark, {_least(planner)})"


def _least(planner: _Planner) -> str:
    names = [f"w{n}" for n in range(len(planner.pipeline.sources))]
    return names[0] if len(names) == 1 else f"min({', '.join(names)})"
