"""`onetape doctor`: what is installed, what this machine can do, and what to type to mend it.

A check is a function that looks at one thing and returns a `Finding`. A check that fails itself is
a finding too: a machine that refuses to answer is what a doctor is called for.
"""

import argparse
import json
import re
import shutil
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from onetape.compiled import cache
from onetape.records import OperatorError
from onetape.runtimes.doctor.disk import disk_checks
from onetape.runtimes.doctor.finding import BETTER, MISSING, OK, Finding
from onetape.runtimes.doctor.machine import CLOCK_CHECKS, PROCESSOR_CHECKS
from onetape.runtimes.doctor.network import NETWORK_CHECKS
from onetape.runtimes.doctor.software import SOFTWARE_CHECKS, folder_bytes

DESCRIPTION = """\
Look at what is installed and at what this machine can do: packages, processor, clock, network,
the disk under a tape. Each line has a verdict (ok, could be better, missing), what was found, and
where something can be done, what to type. Takes a few seconds and changes nothing.

Exit status 1 if something is missing that onetape cannot do without.
"""
WIDTH = 100
CACHE_FOLDER = re.compile(r"[0-9a-f]{16}-(compiled|boundscheck|interpreted)")


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "doctor",
        help="what this machine can do, and what to mend",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  onetape doctor --tape /data/tapes",
    )
    parser.add_argument(
        "--tape", type=Path, default=Path(), metavar="DIR", help="the disk to try (default: here)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--clear-cache", action="store_true", help="remove the machine code on disk, after asking"
    )
    parser.add_argument("--yes", action="store_true", help="of --clear-cache: do not ask")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.clear_cache:
        return _clear_cache(args.yes)
    if not args.tape.is_dir():
        raise OperatorError(f"--tape was {args.tape}, which is not a folder; name one that exists")
    findings: dict[str, list[Finding]] = {}
    for topic, checks in _topics(args.tape).items():
        findings[topic] = [examine(check) for check in checks]
        if not args.json:
            print(text_of(topic, findings[topic]), flush=True)
    verdicts = [finding.verdict for group in findings.values() for finding in group]
    is_fit = MISSING not in verdicts
    if args.json:
        groups = {topic: [one._asdict() for one in group] for topic, group in findings.items()}
        print(json.dumps({"ok": is_fit, "findings": groups}))
    else:
        counts = ", ".join(f"{verdicts.count(one)} {one}" for one in (OK, BETTER, MISSING))
        print(f"\n{counts}. {'onetape runs here.' if is_fit else 'Mend what is missing first.'}")
    return 0 if is_fit else 1


def _topics(tape: Path) -> dict[str, list[Callable[[], Finding]]]:
    return {
        "software": SOFTWARE_CHECKS,
        "processor": PROCESSOR_CHECKS,
        "clock": CLOCK_CHECKS,
        "network": NETWORK_CHECKS,
        f"disk of {tape.resolve()}": disk_checks(tape),
    }


def examine(check: Callable[[], Finding]) -> Finding:
    """What a check finds; where it fails, that it could not look."""
    try:
        return check()
    except Exception as error:
        asked = check.func if isinstance(check, partial) else check
        name = getattr(asked, "__name__", "check").strip("_").replace("_", " ")
        return Finding(name, BETTER, f"could not look: {type(error).__name__}: {error}")


def text_of(topic: str, findings: list[Finding]) -> str:
    """A topic as lines of at most 100 characters, unless a command to type is longer."""
    lines = [f"\n{topic}"]
    for finding in findings:
        lead = f"  {finding.verdict:15s}  {finding.what:17s}  "
        lines += textwrap.wrap(
            finding.found, WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead)
        )
        if finding.fix:
            lines.append(f"{' ' * 19}fix: {finding.fix}")
    return "\n".join(lines)


def _clear_cache(is_sure: bool) -> int:
    """Remove the folders of machine code, and nothing else that may lie beside them."""
    root = cache.root()
    folders = [one for one in root.glob("*") if CACHE_FOLDER.fullmatch(one.name) and one.is_dir()]
    if not folders:
        print(f"no machine code in {root}")
        return 0
    size = sum(map(folder_bytes, folders)) / 1e6
    if not is_sure:
        print(f"remove {size:.0f} MB of machine code in {root}? [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            print("nothing removed")
            return 1
    for folder in folders:
        shutil.rmtree(folder)
    print(f"removed {size:.0f} MB; the next start compiles again")
    return 0
