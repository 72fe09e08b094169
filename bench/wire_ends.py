"""The processes of the wire bench: who sends, and the two that answer in turns.

    generator   sends datagrams when they are due, whether or not anything is answered, and between
                two sendings looks for answers; a compiled loop on the first processor
    node        an EdgeNode with the standard pipeline, its loop on the second processor
    echo        on that processor too, when the node is stopped: takes datagrams with the same calls
                and waits as the node does, and answers with a datagram as long as one alert, for
                the same datagrams. Nothing else

Each is told what to do over a pipe. The answer to a message names the time at which the message was
due (the event time of the alert), so its latency begins there, not when the datagram really left.
"""

import os
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from bench.wire_flow import TIME_AT, Flow, Load, make, stamp

from onetape.codecs.feed import FAR_SEQUENCE
from onetape.codecs.rows_datagram import HEADER_BYTES, MAGIC, ROWS, new_packet, write_header
from onetape.compiled.atomics import load_acquire
from onetape.compiled.counts import new_counts, record_ns
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import (
    load_i64be,
    load_i64le,
    load_u16be,
    load_u16le,
    load_u32be,
    load_u32le,
    store_i64le,
)
from onetape.compiled.rows import row
from onetape.connect.udp import LOOPBACK, Address, open_receiver, open_sender
from onetape.native.clock import clock_ns
from onetape.native.sockets import new_batch, receive, send
from onetape.native.threads import pin_thread
from onetape.records.market import OPEN, Alert
from onetape.runtimes.edge import words as w
from onetape.runtimes.edge.intake import wait
from onetape.runtimes.edge.lines import SLOT_BYTES, Line, new_intake
from onetape.runtimes.edge.network import Network
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.standard import market_watch
from onetape.tape.ring import COMMITS

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
ANY_PORT = Address(LOOPBACK, 0)
BACK_SLOT_BYTES = 2048  # an answer has up to 1408
ALERT_BYTES = Alert.dtype.itemsize  # type: ignore[attr-defined]
STATE_AT = Alert.dtype.fields["state"][1]  # type: ignore[attr-defined]
DRAIN_S = 0.05
SILENCE_S = 1.0  # then what has not come is lost
MORE = -1
HEAD_START_NS = 20_000_000  # from the stamping of a slice to its first datagram


def generator(pipe: Any, load: Load, profiles: Any, midnight_ns: int, cpu: int | None) -> None:
    """Says its two addresses for answers, and which to answer; then sends slices to addresses.

    It is asked for slice n of the profiles, or with MORE for one that goes on like the last.
    """
    if cpu is not None:
        pin_thread(cpu)
    flow = make(load, profiles)
    with ExitStack() as stack:
        backs = {who: stack.enter_context(open_receiver(ANY_PORT)) for who in ("node", "echo")}
        addresses = {who: back.address for who, back in backs.items()}
        pipe.send((addresses, flow.answers(load.packet_messages)))
        senders: dict[str, Any] = {}
        while (asked := pipe.recv()) is not None:
            who, address, n, grace_ns = asked
            if who not in senders:
                senders[who] = stack.enter_context(open_sender(address))
            if n == MORE:
                seed = int(flow.market.last[0])
                flow, n = make(load, profiles[-1:], seed=seed, after=flow.market), 0
            pipe.send(_offer(flow, n, senders[who].fd, backs[who].fd, midnight_ns, grace_ns))


def _offer(flow: Flow, n: int, fd: int, back_fd: int, midnight_ns: int, grace_ns: int) -> Any:
    """Send one slice; due and arrival time (ns since the slice began) of each answer, and more."""
    first, until = flow.slices[n]
    expected = len(flow.alerts[n])
    headers, batch = new_batch(32, BACK_SLOT_BYTES)
    due_ns, took_ns = np.zeros((2, 2 * expected + 1), np.int64)
    late, tally = new_counts(), np.zeros(2, np.int64)
    start_ns = time.time_ns() + (until - first) * 500 + HEAD_START_NS
    stamp(flow.data, flow.begin, first, until, flow.due_ns, start_ns - midnight_ns)
    cpu_s = time.thread_time()
    offer(
        fd, back_fd, flow.data, flow.begin, first, until, flow.due_ns, start_ns, grace_ns, expected,
        headers, batch, due_ns, took_ns, late, tally,
    )  # fmt: skip
    got = int(tally[0])
    return {
        "packets": until - first,
        "planted_ns": flow.due_ns[flow.alerts[n]],
        "due_ns": due_ns[:got] - start_ns,
        "took_ns": took_ns[:got] - due_ns[:got],
        "late": late,
        "unsent": int(tally[1]),
        "cpu_s": time.thread_time() - cpu_s,
    }


@kernel
def offer(
    fd, back_fd, data, begin, first, until, due_ns, start_ns, grace_ns, expected, headers, batch,
    answered_due_ns, answered_ns, late, tally
):  # fmt: skip
    """Send each datagram at its time, never waiting; note answers until all are here, or it is
    `grace_ns` after the last. tally: answers, datagrams that the socket refused.
    """
    packet, got = first, 0
    end_ns = start_ns + due_ns[until - 1] + grace_ns
    now_ns = clock_ns()
    while packet < until or (now_ns < end_ns and got < expected):
        if packet < until and now_ns >= start_ns + due_ns[packet]:
            record_ns(late, now_ns - start_ns - due_ns[packet])
            if send(fd, data, begin[packet], begin[packet + 1] - begin[packet]) < 0:
                tally[1] += 1
            packet += 1
        count = receive(back_fd, headers, batch, BACK_SLOT_BYTES)
        now_ns = clock_ns()
        for i in range(count):
            at = i * BACK_SLOT_BYTES
            if load_u32le(batch, at) != MAGIC or load_u16le(batch, at + 4) != ROWS:
                continue
            for k in range(load_u16le(batch, at + 8)):
                alert = at + HEADER_BYTES + k * ALERT_BYTES
                if batch[alert + STATE_AT] == OPEN and got < answered_ns.shape[0]:
                    answered_due_ns[got] = load_i64le(batch, alert)
                    answered_ns[got] = now_ns
                    got += 1
    tally[0] = got


def echo(
    pipe: Any, sink: Address, answers: Any, wait: str, midnight_ns: int, cpu: int | None
) -> None:
    """Says where it listens, then answers until it is ended."""
    if cpu is not None:
        pin_thread(cpu)
    words = w.new_words()
    words[w.WAIT] = w.STRATEGIES.index(wait)
    words[w.WAIT_NS], words[w.WAIT_MAX_NS] = 50_000, 4_000_000
    reply = new_packet(ALERT_BYTES, "0" * 16)
    write_header(reply, ROWS, 0, 1, ALERT_BYTES, 0, 0, 0, 0, 0)
    reply[HEADER_BYTES + STATE_AT] = OPEN
    with open_receiver(ANY_PORT) as receiver, open_sender(sink) as sender:
        lines, headers, batch, watch = new_intake([Line("a", receiver.fd)])
        for stop in (1, 0):  # the first only compiles
            words[w.STOP] = stop
            if stop == 0:
                pipe.send(receiver.address)
            answer(words, lines, headers, batch, watch, reply, sender.fd, answers, midnight_ns)


@kernel
def answer(words, lines, headers, batch, watch, reply, fd, answers, midnight_ns):
    """The bare echo: `answers` tells by the number of its first message whether to answer."""
    line = row(lines, 0)
    while load_acquire(words, w.STOP) == 0:
        count = receive(line.fd, headers, batch, SLOT_BYTES)
        if count <= 0:
            wait(words, lines, watch, 0)
            continue
        words[w.IDLE_SINCE_NS] = 0
        for i in range(count):
            at = i * SLOT_BYTES
            if answers[load_i64be(batch, at + 10)] != 0:
                when = at + TIME_AT
                time_ns = load_u16be(batch, when) << 32 | load_u32be(batch, when + 2)
                store_i64le(reply, HEADER_BYTES, midnight_ns + time_ns)
                send(fd, reply, 0, HEADER_BYTES + ALERT_BYTES)


def node(
    pipe: Any,
    sink: Address,
    folder: Path,
    wait: str,
    commit_every_ns: int,
    midnight_ns: int,
    cpu: int | None,
    other_cpu: int | None,
    more: Any = None,
) -> None:
    """Says where it listens and the thread of its journal; then its counters, until told to stop.

    It is asked with the number of datagrams sent so far, and answers when all of them have been
    run, or when none has come for a while.

    more   what another bench adds: it has `pipeline()`, is told of the node by `begin`, of its rows
           by `take` and of what it is asked besides numbers by `hear`
    """
    if other_cpu is not None:
        pin_thread(other_cpu)  # the journal and this thread, so that the loop has `cpu` alone
    with (
        Network([ANY_PORT], sinks={"alert": sink}) as network,
        EdgeNode(
            more.pipeline() if more else market_watch(),
            folder,
            framing={"itch": "moldudp64"},
            midnight_ns=midnight_ns,
            wait=wait,
            cpu=cpu,
            commit_every_ns=commit_every_ns,
            **network.options(),
        ) as running,
    ):
        if more:
            more.begin(running)
        pipe.send((network.receivers[0].address, _writer_of(running)))
        opened, sent, heard_s, packets = 0, -1, 0.0, -1
        while True:
            if sent < 0 and pipe.poll(DRAIN_S):
                sent = pipe.recv()
                if sent is None:
                    return
                if not isinstance(sent, int):
                    pipe.send(more.hear(sent))
                    sent = -1
            for name, rows, origins in running.drain():
                if more:
                    more.take(name, rows, origins)
                if name == "alert":
                    opened += int((rows["state"] == OPEN).sum())
            if sent < 0:
                continue
            facts = _facts(running, network)
            if facts["packets"] != packets:
                packets, heard_s = facts["packets"], time.monotonic()
            if (packets >= sent and running.is_idle()) or time.monotonic() - heard_s > SILENCE_S:
                pipe.send({"opened": opened} | facts)
                sent = -1
            time.sleep(DRAIN_S)


def _facts(running: EdgeNode, network: Network) -> dict[str, Any]:
    """All but the memory only grows, so a difference tells of the time between two askings."""
    feed = running.engine.feed_state("itch")
    around, line = running.around, running.line_statistics()[0]
    loop_ns, ready_ns = _scheduled_ns(running.threads[-1].native_id)
    return {
        "service": around.service.copy(),
        "to_sink": around.to_sink.copy(),
        "packets": line["packets"],
        "batches": line["batches"],
        "lost": int(feed["gap_messages"]),
        "missing": int(feed["highest_sequence"] - feed["next_sequence"]),
        "messages": int(feed["messages"]),
        "after_loss": int(feed["after_loss"]),
        "not_held": int(feed["not_held"]),
        "far": int(feed["refused"][FAR_SEQUENCE]),
        "kernel_drops": network.drops(),
        "waits_tape": running.statistics()["waits_tape"],
        "commits": int(running.tape.control[COMMITS]),
        "cpu_ns": time.process_time_ns(),
        "loop_ns": loop_ns,
        "loop_ready_ns": ready_ns,
        "writer_ns": _scheduled_ns(_writer_of(running))[0],
        "tape_bytes": running.tape.durable_position,
        "memory_bytes": int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES,
    }


def _writer_of(running: EdgeNode) -> int | None:
    return running.tape._threads[0].native_id


def others_ns(pids: Iterable[int]) -> int:
    """Processor time of all but these processes; 0 where the system does not tell."""
    try:
        user, nice, system, _, _, *rest = Path("/proc/stat").read_text().split()[1:9]
    except OSError:
        return 0
    ticks = sum(map(int, (user, nice, system, *rest)))
    return ticks * 10**9 // os.sysconf("SC_CLK_TCK") - sum(map(ran_ns, pids))


def ran_ns(pid: int) -> int:
    """Processor time of all threads of a process; 0 where the system does not tell."""
    every = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(one.read_text().split()[0]) for one in every)


def _scheduled_ns(thread: int | None) -> tuple[int, int]:
    """(ns a thread ran, ns it was ready but another ran); zeros where the system does not tell."""
    try:
        ran, waited, _ = Path(f"/proc/{os.getpid()}/task/{thread}/schedstat").read_text().split()
    except OSError:
        return 0, 0
    return int(ran), int(waited)
