"""Every example in README.md and docs/*.md runs.

```python    run in order, one namespace and one working folder a page
```console   lines `$ onetape ...` run in that folder and must exit 0; the rest is for the reader
```text      and every other kind of block is not run, nor is ```python no-run

A block after the line `<!-- slow -->` runs only with the slow tests.
"""

import os
import re
import subprocess
import sys
import textwrap
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [page for page in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))] if page.exists()]
COMMAND_TIMEOUT_S = 120

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,}|~{3,})(?P<info>[^`]*)$")


@dataclass(frozen=True)
class Block:
    kind: str  # the first word after the fence: python, console, text ...
    run: bool
    slow: bool
    line: int  # of the first line inside the fence, from 1
    text: str


def blocks_of(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    blocks, lines, slow, i = [], text.split("\n"), False, 0
    while i < len(lines):
        opening = FENCE.match(lines[i])
        if opening is None:
            slow = lines[i].strip() == "<!-- slow -->" or (slow and not lines[i].strip())
            i += 1
            continue
        start = i + 1
        i = start
        while not re.fullmatch(rf" *{opening['ticks']}{opening['ticks'][0]}* *", lines[i]):
            i += 1
            if i == len(lines):
                raise ValueError(f"line {start}: the fence is never closed")
        kind, *words = opening["info"].split() or [""]
        if kind in ("python", "console") and words not in ([], ["no-run"]):
            raise ValueError(f"line {start}: {kind} {' '.join(words)}: only `no-run` is known")
        body = textwrap.dedent("\n".join(lines[start:i]))
        blocks.append(Block(kind, run=not words, slow=slow, line=start + 1, text=body))
        slow = False
        i += 1
    return blocks


def commands_of(block: Block) -> list[tuple[int, str]]:
    """(line, command) of each `$ onetape ...` in a console block; a last backslash continues."""
    commands, lines = [], block.text.split("\n")
    for i, line in enumerate(lines):
        if not line.startswith("$ onetape"):
            continue
        parts = [line[2:]]
        while parts[-1].endswith("\\"):
            parts.append(lines[i + len(parts)])
        commands.append((block.line + i, "\n".join(parts)))
    return commands


def run_page(page: Path, folder: Path, *, slow: bool) -> None:
    """Run a page's blocks in `folder`, the working directory; raise at the first that fails."""
    blocks = [b for b in blocks_of(page.read_text(encoding="utf-8")) if b.run]
    # The code is a real module, with the page's line numbers: inspect.getsource works on what it
    # defines, and a traceback's line is the page's.
    source = "\n" * max((b.line + b.text.count("\n") for b in blocks), default=0)
    source_lines = source.split("\n")
    for block in blocks:
        if block.kind == "python":
            for i, line in enumerate(block.text.split("\n")):
                source_lines[block.line - 1 + i] = line
    module = types.ModuleType("page_" + re.sub(r"\W", "_", page.stem))
    module.__file__ = str(folder / f"{module.__name__}.py")
    Path(module.__file__).write_text("\n".join(source_lines), encoding="utf-8")
    sys.modules[module.__name__] = module
    try:
        for block in blocks:
            if block.slow and not slow:
                continue
            if block.kind == "python":
                run_python(page, block, module)
            elif block.kind == "console":
                for line, command in commands_of(block):
                    run_command(f"{page.name}:{line}", command, folder)
    finally:
        del sys.modules[module.__name__]


def run_python(page: Path, block: Block, module: types.ModuleType) -> None:
    where = f"{page.name}:{block.line}"
    try:
        code = compile("\n" * (block.line - 1) + block.text, module.__file__, "exec")
        exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {error}"
        raise AssertionError(f"{where}: the example fails: {what}") from error


def run_command(where: str, command: str, folder: Path) -> None:
    """Run one shell line in which `onetape` is this checkout's, under this interpreter."""
    shims = folder / ".bin"
    shims.mkdir(exist_ok=True)
    shim = shims / "onetape"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m onetape.cli "$@"\n', encoding="utf-8")
    shim.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": f"{shims}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{where}: `{command}` exits {done.returncode}:\n{done.stdout}"


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


RUNS = [pytest.param(page, False, id=name_of(page)) for page in PAGES]
RUNS += [
    pytest.param(page, True, id=f"{name_of(page)}, slow too", marks=pytest.mark.slow)
    for page in PAGES
    if "<!-- slow -->" in page.read_text(encoding="utf-8")
]


@pytest.mark.parametrize(("page", "slow"), RUNS)
def test_the_examples_of_a_page_run(page, slow, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(page, tmp_path, slow=slow)


SAMPLE = """\
# A page
```python
import inspect
kept = 1
class A:
    x = 2
```
- in a list
  ```python
  assert kept == 1
  open("made.txt", "w").close()
  assert "x = 2" in inspect.getsource(A)
  ```
```python no-run
1 / 0
```
```text
$ onetape nonsense
```
<!-- slow -->
```python
1 / 0
```
"""


def test_blocks_share_a_namespace_and_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "sample.md"
    page.write_text(SAMPLE, encoding="utf-8")

    run_page(page, tmp_path, slow=False)

    assert (tmp_path / "made.txt").exists()
    with pytest.raises(AssertionError, match=r"sample\.md:22: the example fails: ZeroDivision"):
        run_page(page, tmp_path, slow=True)


def test_a_failing_command_is_named_with_its_line(tmp_path):
    page = tmp_path / "sample.md"
    page.write_text("```console\n$ onetape no \\\n  such command\noutput\n```\n", encoding="utf-8")

    with pytest.raises(AssertionError, match=r"sample\.md:2: `onetape no"):
        run_page(page, tmp_path, slow=False)


@pytest.mark.parametrize("text", ["```python norun\n```", "```python\nx = 1\n"])
def test_a_malformed_fence_is_refused(text):
    with pytest.raises(ValueError, match="line 1: "):
        blocks_of(text)
