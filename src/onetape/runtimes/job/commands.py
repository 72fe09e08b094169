"""`onetape job run|ls|show|log`: commands that are done once for a key, with a record."""

import argparse
import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from onetape.records import OperatorError
from onetape.runtimes.dev.words import time_of
from onetape.runtimes.job.digests import differs
from onetape.runtimes.job.job import ONCE, Job, key_of, make_job, read_job
from onetape.runtimes.job.running import Execution
from onetape.runtimes.job.store import Record, Store

BUSY = 75  # as sysexits.h has it: try again later

DESCRIPTION = """\
Run a command once for a key (a date, most often) and keep a record: when, how often it was tried,
its exit status, its log, digests of its inputs and outputs. The same key again is "already done"
and exit 0, so that cron, Airflow or Argo may call it as often as they like.
"""
EPILOG = """\
examples:
  onetape job run report --key 2026-01-05 -- onetape replay {key}.itch --out out/{key}
  onetape job run day.toml --key yesterday      a job file; onetape job run --help has its form
  onetape job ls --state failed
  onetape job log report 2026-01-05
"""
RUN_EPILOG = """\
A job file (paths are relative to its folder; {key} is the key):
  name = "day"
  command = ["onetape", "run", "standard", "--file", "{key}.itch", "--tape", "tapes/{key}"]
  key = "yesterday"
  inputs = ["{key}.itch"]
  outputs = ["tapes/{key}"]
  retries = 3
  backoff = "30s"
  timeout = "2h"

A job with the same key that runs already: exit 75, at once. One that was killed is taken over. A
key that was done with another command, or whose inputs or outputs are not what they were, is
refused (exit 1) until --again.

exit status: 0 done, now or before; else the command's own, of the last attempt; 124 not done in
time, 126 or 127 the command cannot be run, 128+N killed or stopped by signal N, 66 an input is
missing, 65 one changed meanwhile, 73 an output is missing; 75 another runs it; 1 refused, 2 usage.
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "job",
        help="run a command once for a key, with retries and a record: for cron, Airflow, Argo",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="run|ls|show|log", parser_class=_Parser
    )
    _add_run(actions)
    ls = _add(actions, "ls", "list executions, newest first", _ls)
    ls.add_argument("name", nargs="?", metavar="NAME", help="of one job (default: all)")
    ls.add_argument("--state", choices=STATES, help="only those that stand so")
    ls.add_argument("--last", type=int, default=20, metavar="N", help="(default %(default)s)")
    for name, text, run in (
        ("show", "all that is known of an execution", _show),
        ("log", "print what an execution wrote", _log),
    ):
        action = _add(actions, name, text, run)
        action.add_argument("name", metavar="NAME")
        action.add_argument("key", nargs="?", metavar="KEY", help="(default: the last that ran)")
        action.add_argument(
            "--run", type=int, metavar="N", help="the Nth run of the key", dest="nth"
        )


def _add_run(actions: Any) -> None:
    run = _add(actions, "run", "run a job, unless it is done", _run, epilog=RUN_EPILOG)
    run.add_argument("job", metavar="NAME|FILE.toml", help="a name, or a job file")
    run.add_argument("--key", help=f'what it is done once for (default "{ONCE}"); today, yesterday')
    run.add_argument("--again", action="store_true", help="also if it is done")
    run.add_argument(
        "--input", action="append", metavar="PATH", dest="inputs", help="file or folder it reads"
    )
    run.add_argument(
        "--output", action="append", metavar="PATH", dest="outputs", help="what it leaves behind"
    )
    run.add_argument("--retries", type=int, metavar="N", help="attempts after the first")
    run.add_argument("--backoff", metavar="TIME", help="10s: before the second attempt; doubles")
    run.add_argument("--timeout", metavar="TIME", help="30m: of one attempt")
    run.add_argument("--quiet", action="store_true", help="show nothing of what it writes")
    run.usage = "onetape job run NAME|FILE.toml [option ...] [-- COMMAND ...]"


class _Parser(argparse.ArgumentParser):
    """What stands behind `--` is another command, in which no word is an option of ours."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        words = sys.argv[1:] if args is None else list(args)
        at = words.index("--") if "--" in words else len(words)
        found, rest = super().parse_known_args(words[:at], namespace)
        found.command_words = words[at + 1 :]
        if found.command_words and self.prog.split()[-1] != "run":
            self.error("only `job run` takes a command behind --")
        return found, rest


def _add(actions: Any, name: str, text: str, run: Any, **more: Any) -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=text, description=text, formatter_class=form, **more
    )
    parser.add_argument("--json", action="store_true", help="for programs: JSON, not prose")
    parser.add_argument(
        "--jobs",
        type=Path,
        metavar="FOLDER",
        help="the records (default ~/.local/state/onetape/jobs)",
    )
    parser.set_defaults(run=run)
    return parser


def _run(args: argparse.Namespace) -> int:
    job = _job_of(args)
    with Store(_folder(args)) as store, store.lease(job.name, job.key) as lease:
        if not lease.take():
            other = store.last(job.name, job.key)
            if other is not None and lease.is_left(other["pid"]):
                lease.end_remains()
            if not lease.take():
                _tell(job, "runs already" if other is None else f"runs already, pid {other['pid']}")
                return BUSY
        before = store.last(job.name, job.key)
        if before is not None and before["state"] == "done" and not args.again:
            return _already(args, job, before)
        if before is not None and before["state"] in ("running", "crashed"):
            _tell(job, f"run {before['run']} (pid {before['pid']}) did not end; taking over")
        record = store.begin(job)
        shown = None if args.quiet else sys.stderr
        outcome = Execution(job, Path(record["log"]), lease.fd, shown).run()
        store.note(
            record,
            state=outcome.state,
            exit_code=outcome.exit_code,
            attempts=outcome.attempts,
            said=outcome.said,
            inputs=outcome.inputs or {},
            outputs=outcome.outputs or {},
            ended_ns=time.time_ns(),
        )
    _tell(job, f"{_ended(record)}; log {record['log']}")
    if args.json:
        print(json.dumps(record))
    return outcome.exit_code


def _already(args: argparse.Namespace, job: Job, before: Record) -> int:
    """Done before; unless that was another command, or what it read or wrote is not as it was."""
    was = f"was done {_time(before['ended_ns'])} (run {before['run']})"
    if before["command"] != list(job.command):
        words = shlex.join(before["command"])
        raise OperatorError(f"{job.title} {was} with another command: {words}; --again runs this")
    for what in ("inputs", "outputs"):
        for name, facts in before[what].items():
            how = differs(job.folder, name, facts)
            if how:
                said = f"{job.title} {was}, but {what[:-1]} {name} {how} since"
                raise OperatorError(f"{said}; --again runs it again")
    _tell(job, f"already done: {_time(before['ended_ns'])}, run {before['run']}")
    if args.json:
        print(json.dumps(before))
    return 0


def _job_of(args: argparse.Namespace) -> Job:
    names = ("key", "inputs", "outputs", "retries", "backoff", "timeout")
    over = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if not args.job.endswith(".toml"):
        return make_job(args.job, args.command_words, **over)
    if args.command_words:
        raise OperatorError(f"{args.job} says which command; leave {args.command_words[0]!r} out")
    return read_job(Path(args.job), **over)


def _ls(args: argparse.Namespace) -> int:
    with Store(_folder(args)) as store:
        found = store.find(args.name)
    found = [one for one in found if args.state in (None, one["state"])][: args.last]
    if args.json:
        print(json.dumps({"executions": found}))
        return 0
    if not found:
        print("no executions: onetape job run NAME --key KEY -- COMMAND ...")
        return 0
    rows = [("job", "key", "run", "state", "exit", "attempts", "started (UTC)", "took")]
    rows += [
        (
            one["name"],
            one["key"],
            str(one["run"]),
            one["state"],
            "-" if one["exit_code"] is None else str(one["exit_code"]),
            str(one["attempts"] or "-"),
            _time(one["started_ns"]),
            "-" if one["ended_ns"] is None else f"{_took_s(one):.1f} s",
        )
        for one in found
    ]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(f"{word:{width}}" for word, width in zip(row, widths)).rstrip())
    return 0


def _show(args: argparse.Namespace) -> int:
    record = _found(args)
    if args.json:
        print(json.dumps(record))
        return 0
    print(f"{record['name']} {record['key']}, run {record['run']}: {_ended(record)}")
    print(f"  command   {shlex.join(record['command'])}")
    print(f"  in        {record['folder']} on {record['host']}, pid {record['pid']}")
    print(f"  started   {_time(record['started_ns'])} UTC")
    if record["ended_ns"] is not None:
        print(f"  ended     {_time(record['ended_ns'])} UTC")
    for what in ("input", "output"):
        for name, facts in record[f"{what}s"].items():
            size = f"{facts['bytes']:,} bytes, sha256 {facts['sha256'][:16]}" if facts else "away"
            print(f"  {what:9} {name}: {size}")
    print(f"  log       {record['log']}")
    return 0


def _log(args: argparse.Namespace) -> int:
    record = _found(args)
    path = Path(record["log"])
    if not path.exists():
        raise OperatorError(f"{path} is gone")
    text = path.read_text(encoding="utf-8", errors="replace")
    print(json.dumps(record | {"text": text}) if args.json else text, end="")
    return 0


def _found(args: argparse.Namespace) -> Record:
    key = None if args.key is None else key_of(args.key)
    with Store(_folder(args)) as store:
        record = store.last(args.name, key, args.nth)
    if record is None:
        which = " ".join(filter(None, [args.name, key, args.nth and f"run {args.nth}"]))
        raise OperatorError(f"no execution of {which}: onetape job ls lists what there is")
    return record


def _folder(args: argparse.Namespace) -> Path:
    if args.jobs is not None:
        return Path(args.jobs)
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(os.environ.get("ONETAPE_JOBS") or Path(state) / "onetape" / "jobs")


def _ended(record: Record) -> str:
    """'done in 12.3 s, attempt 2', 'failed: exit status 3, attempt 4', 'running', 'crashed'."""
    if record["ended_ns"] is None:
        return str(record["state"])
    said = f": {record['said']}" if record["said"] else ""
    took = f"{record['state']} in {_took_s(record):.1f} s{said}"
    return f"{took}, attempt {record['attempts']}"


def _took_s(record: Record) -> float:
    return float(record["ended_ns"] - record["started_ns"]) / 1e9


def _time(ts_ns: int) -> str:
    return time_of(ts_ns)[:19]


def _tell(job: Job, text: str) -> None:
    print(f"onetape: {job.title}: {text}", file=sys.stderr)


STATES = ("running", "done", "failed", "timeout", "stopped", "crashed")
