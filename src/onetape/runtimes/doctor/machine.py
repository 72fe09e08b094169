"""`onetape doctor`, processor and clock: what the hot loop gets, and what its times are worth."""

import ctypes
import os
import platform
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from onetape.native.threads import pin_thread, set_realtime
from onetape.records import OperatorError
from onetape.runtimes.doctor.finding import BETTER, MISSING, OK, Finding

STEAL_SHARE_MANY = 0.005
CLOCK_NS_MANY = 250  # a read through the vDSO takes 50 from Python, a system call several hundred
READS = 10_000
# Read without a system call, on one kind of machine or another.
GOOD_CLOCKS = ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page")
CLOCK_FOLDER = Path("/sys/devices/system/clocksource/clocksource0")
SYNCHRONISED_US_MANY = 10_000
TIME_ERROR = 5  # adjtimex(2): not synchronised


def _platform() -> Finding:
    found = f"{platform.system()} {platform.release()}, {platform.machine()}"
    if sys.platform == "linux":
        return Finding("platform", OK, found)
    if sys.platform == "darwin":
        found += ": everything runs, for development; no pinning, real-time or batched receiving"
        return Finding("platform", BETTER, found, "use Linux where latency matters")
    return Finding("platform", MISSING, found, "use Linux or macOS (on Windows: wsl --install)")


def _cores() -> Finding:
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    found = f"{usable} usable of {total}"
    quota = _quota()
    if quota is not None and quota < usable:
        found += f", but only the time of {quota:g}: the loop is stopped when that is used up"
        return Finding("cores", BETTER, found, "docker update --cpus 4 CONTAINER")
    if usable == 1:
        found += "; loop, journal and Python take turns: do not let the loop spin"
        return Finding("cores", BETTER, found, "onetape run ... --wait sleep")
    return Finding("cores", OK, found + ("; --wait spin leaves one" if usable == 2 else ""))


def _quota() -> float | None:
    """How many processors' time the control group may use; None where it does not limit."""
    try:
        words = _read("/sys/fs/cgroup/cpu.max").split()
    except OSError:
        try:
            words = [_read(f"/sys/fs/cgroup/cpu/cpu.cfs_{n}_us") for n in ("quota", "period")]
        except OSError:
            return None
    return None if words[0] in ("max", "-1") else int(words[0]) / int(words[1])


def _numa() -> Finding:
    nodes = len(list(Path("/sys/devices/system/node").glob("node[0-9]*")))
    if nodes > 1:
        found = f"{nodes} nodes: keep the loop on the network card's (--cpu N), and its memory too"
        return Finding("NUMA", OK, found)
    return Finding("NUMA", OK, "one node" if nodes else "not told on this platform")


def _governor() -> Finding:
    files = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    found = sorted({path.read_text().strip() for path in files})
    if not found:
        return Finding("frequency", OK, "not set by this system (usual on a virtual machine)")
    if found == ["performance"]:
        return Finding("frequency", OK, "governor performance")
    said = f"governor {', '.join(found)}: a loop that slept wakes on a slow core"
    return Finding("frequency", BETTER, said, "sudo cpupower frequency-set -g performance")


def _steal() -> Finding:
    """Time that the hypervisor gave to others while this machine wanted to run, since boot."""
    try:
        ticks = [int(word) for word in _read("/proc/stat").split("\n")[0].split()[1:9]]
    except OSError:
        return Finding("steal time", OK, "not told on this platform")
    stolen, wanted = ticks[7], sum(ticks) - ticks[3] - ticks[4]  # without idle and iowait
    share = stolen / max(1, wanted)
    found = f"{share:.2%} of the time it ran, since boot"
    if share < STEAL_SHARE_MANY:
        return Finding("steal time", OK, found)
    found += ": other virtual machines pause this one"
    return Finding("steal time", BETTER, found, "choose a machine with processors of its own")


def _in_a_thread(act: Callable[[], None]) -> str:
    """What a thread was refused, which is then gone with all it was granted."""
    refused: list[str] = []

    def attempt() -> None:
        try:
            act()
        except OperatorError as error:
            refused.append(str(error))

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return refused[0] if refused else ""


def _pinning() -> Finding:
    if not hasattr(os, "sched_getaffinity"):
        return Finding("pinning", BETTER, "not on this platform", "leave --cpu away")
    cpu = max(os.sched_getaffinity(0))
    why = _in_a_thread(lambda: pin_thread(cpu))
    if why:
        return Finding("pinning", BETTER, why, "leave --cpu away")
    return Finding("pinning", OK, "allowed (--cpu N)")


def _realtime() -> Finding:
    if not hasattr(os, "sched_setscheduler"):
        return Finding("real-time", BETTER, "not on this platform", "leave --realtime away")
    if _in_a_thread(lambda: set_realtime(1)):
        fix = "sudo setcap cap_sys_nice+ep $(readlink -f $(which python3))"
        return Finding("real-time", BETTER, "not allowed; only --realtime asks for it", fix)
    return Finding("real-time", OK, "allowed (--realtime P), to be used with a core to spare")


def _source() -> Finding:
    try:
        name = _read(CLOCK_FOLDER / "current_clocksource")
        others = _read(CLOCK_FOLDER / "available_clocksource").split()
    except OSError:
        return Finding("source", OK, "not told on this platform")
    if name in GOOD_CLOCKS:
        return Finding("source", OK, name)
    found = f"{name}: slow to read, and coarse on some machines"
    good = [one for one in GOOD_CLOCKS if one in others]
    if good:
        fix = f"echo {good[0]} | sudo tee {CLOCK_FOLDER}/current_clocksource"
    else:
        fix = "boot Linux with clocksource=tsc tsc=reliable, if the processor's TSC is stable"
    return Finding("source", BETTER, found, fix)


def _read_cost() -> Finding:
    best = min(_reads_ns() for _ in range(10))
    found = f"{best:.0f} ns a read, from Python"
    if best < CLOCK_NS_MANY:
        return Finding("cost", OK, found)
    found += ": it is a system call here, and the loop reads the clock for each datagram"
    return Finding("cost", BETTER, found, "see the clock source above")


def _reads_ns() -> float:
    read = time.time_ns
    began_ns = time.perf_counter_ns()
    for _ in range(READS):
        read()
    return (time.perf_counter_ns() - began_ns) / READS


def _synchronised() -> Finding:
    """What the kernel believes of its clock, whoever sets it: chrony, ntpd, timesyncd, ptp4l."""
    what = "synchronised"
    if sys.platform != "linux":
        return Finding(what, OK, "not told on this platform")
    timex = ctypes.create_string_buffer(512)  # modes 0: only ask
    state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    if state < 0:
        return Finding(
            what, BETTER, f"not told: {os.strerror(ctypes.get_errno())}", "chronyc tracking"
        )
    error_us = struct.unpack_from("l", timex, 24)[0]
    if state == TIME_ERROR:
        found = "no: times of two machines cannot be compared"
        return Finding(what, BETTER, found, "sudo apt-get install chrony")
    found = f"yes, at most {error_us / 1000:.1f} ms off"
    if error_us < SYNCHRONISED_US_MANY:
        return Finding(what, OK, found)
    return Finding(what, BETTER, found, "chronyc sources    # a nearer one, or PTP, is better")


PROCESSOR_CHECKS = [_platform, _cores, _numa, _governor, _steal, _pinning, _realtime]
CLOCK_CHECKS = [_source, _read_cost, _synchronised]


def _read(path: str | Path) -> str:
    return Path(path).read_text().strip()
