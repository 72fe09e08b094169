"""Why a job failed, in one line: the root of a Java stack trace, without its frames."""

import re

# In thread mode: Caused by: pemja.core.PythonException: <class 'a.b.Error'>: what it says
# In process mode the trace of the worker is inside the message of a Java exception.
_EMBEDDED = re.compile(r"<class '([\w.]+)'>: (.*)", re.DOTALL)
_RAISED = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit))(?:: (.*))?$")
_FRAME = re.compile(r"^\s*(?:at |\.\.\. \d+ (?:more|common)|Suppressed: )")
OWN = "onetape."


def root_cause(trace: str, task: str | None) -> str:
    """'operator: what happened', of a stack trace as the REST interface gives it."""
    python = _of_python(trace)
    said = python if python is not None else _of_java(trace)
    name = _operator(task)
    return f"{name}: {said}" if name else said


def is_ours(trace: str) -> bool:
    """Was it an error of the pipeline or of its input? To run it again would bring it again."""
    return bool(re.search(r"\bonetape\.[\w.]*Error\b|Exception: onetape: ", trace))


def _of_python(trace: str) -> str | None:
    """What Python raised, if that was it: the last such line in the trace."""
    lines = [line for line in trace.split("\n") if not _FRAME.match(line)]
    found, in_python = None, False
    for n, line in enumerate(lines):
        in_python = in_python or "Traceback (most recent call last)" in line
        embedded = _EMBEDDED.search(line)
        raised = _RAISED.match(line.strip()) if in_python else None
        if embedded:
            found = _named(embedded[1], " ".join([embedded[2], *_rest(lines[n + 1 :])]))
        elif raised:
            found = _named(raised[1], " ".join([raised[2] or "", *_rest(lines[n + 1 :])]))
    return found


def _named(kind: str, said: str) -> str:
    """Our own errors speak for themselves; of others one wants to know the kind."""
    short = kind.rpartition(".")[2]
    return said.strip() if kind.startswith(OWN) else f"{short}: {said}".strip().rstrip(":")


def _rest(lines: list[str]) -> list[str]:
    """The further lines of a message, up to where something else begins."""
    kept = []
    for line in lines:
        if not line.strip() or line.startswith(("Caused by", "Traceback", "  File", "\t")):
            break
        kept.append(line.strip())
    return kept


def _of_java(trace: str) -> str:
    """The innermost cause, with its kind where it says nothing itself."""
    causes = [line for line in trace.split("\n") if line.startswith("Caused by: ")]
    if not causes:
        causes = [line for line in trace.split("\n") if line.strip() and not _FRAME.match(line)][:1]
    if not causes:
        return "Flink does not say why"
    last = causes[-1].removeprefix("Caused by: ").strip()
    kind, colon, said = last.partition(": ")
    if not colon:
        return kind.rpartition(".")[2]
    return said if said.startswith("onetape: ") else f"{kind.rpartition('.')[2]}: {said}"


def _operator(task: str | None) -> str:
    """'KEYED PROCESS, kafka-out: Writer (1/2)' is a chain of operators; ours has a name."""
    if not task:
        return ""
    chain, _, part = task.partition(" (")
    name = next((one for one in re.split(r" -> |, ", chain) if one.startswith("onetape")), chain)
    return f"{name} ({part}" if part else name
