"""What the site needs that is not in docs/: README.md and CHANGELOG.md as pages, links that leave
docs/ as plain words, and the aligned lists of docstrings kept as they are aligned."""

import posixpath
import re
import textwrap
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)")
PROGRAM = re.compile(r"^## \[(\S+)\]\(\.\./examples/\S+\)$", re.M)
# Two or more lines such as "width  of a window, in ns", and what continues them.
LIST = re.compile(r"(?:^[a-z_][\w, ]*?  +\S.*\n(?:^ {3,}\S.*\n)*)+", re.M)


def on_files(files: Any, config: Any) -> Any:
    for name, page in (("README.md", "index.md"), ("CHANGELOG.md", "CHANGELOG.md")):
        text = (ROOT / name).read_text(encoding="utf-8")
        text = re.sub(r"\]\(docs/", "](", text)
        if page == "index.md":
            text = re.sub(r"\]\((examples/|src/)", r"](../\1", text)
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The gallery's programs, folded; and a link to what is not a page becomes its text."""
    here = posixpath.dirname(page.file.src_uri)
    if page.file.src_uri == "GALLERY.md":
        markdown = PROGRAM.sub(_folded, markdown)

    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(here, found[2]))
        is_page = target.endswith((".md", ".svg")) and not target.startswith("..")
        return found[0] if is_page else found[1]

    return LINK.sub(link, re.sub(r"^(```\w+) no-run$", r"\1", markdown, flags=re.M))


def _folded(heading: re.Match[str]) -> str:
    code = (ROOT / "examples" / heading[1]).read_text(encoding="utf-8")
    body = textwrap.indent(f"```python\n{code}```", " " * 4)
    return f'## {heading[1]}\n\n??? abstract "the program"\n\n{body}\n'


class Lists(griffe.Extension):
    """Aligned lists in docstrings, as blocks of text."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            value = obj.docstring.value + "\n"
            parts = re.split(r"(^```.*?^```$)", value, flags=re.M | re.S)
            parts[::2] = [LIST.sub(r"\n```text\n\g<0>```\n", part) for part in parts[::2]]
            obj.docstring.value = "".join(parts).strip()
