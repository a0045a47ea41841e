"""The project's own documentation as passages: Markdown split at headings and paragraphs, docstrings by class."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

PACKAGES = (
    "shared",
    "contracts",
    "task",
    "workflow",
    "persona",
    "memory",
    "embedding",
    "gateway",
    "mcp_bridge",
    "local",
)
_PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**/*.md", "*/README.md", "services/*/README.md")
_LONGEST = 700
_SHORTEST = 60
# What a small function says of itself is no passage; hundreds of those would only be in the way.
_SHORTEST_DOCSTRING = 160
_HEADING = re.compile(r"(#{1,6})\s+(.+?)\s*#*$")
_FENCE = re.compile(r"\s*(```|~~~)")
_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Passage:
    """A piece of text that can be understood by itself, since its headings stand before it."""

    source: str
    heading: str
    text: str

    @property
    def content(self) -> str:
        """The text as it is stored and searched."""
        return f"{self.heading}\n{self.text}"


def collect(root: Path) -> list[Passage]:
    """Return the passages of the pages under `root` and of the installed packages, each once."""
    pages = sorted({page for pattern in _PAGES for page in root.glob(pattern) if page.is_file()})
    found = [passage for page in pages for passage in from_markdown(_name(page, root), page.read_text("utf-8"))]
    found += [passage for module in _modules() for passage in from_python(module[0], module[1].read_text("utf-8"))]
    return list({passage.content: passage for passage in found}.values())


def _name(page: Path, root: Path) -> str:
    return page.relative_to(root).as_posix()


def _modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        spec = find_spec(f"tmws_{package}")
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for file in sorted(Path(folder).rglob("*.py")):
                if file.is_relative_to(Path(__file__).parent):
                    continue
                parts = file.relative_to(Path(folder).parent).with_suffix("").parts
                yield ".".join(part for part in parts if part != "__init__"), file


def from_markdown(source: str, text: str) -> Iterator[Passage]:
    """Yield the passages of a Markdown page: paragraphs below the same heading, joined while they are short."""
    for heading, blocks in _sections(source, text):
        for joined in _join(blocks):
            if len(joined) >= _SHORTEST:
                yield Passage(source, heading, joined)


def _sections(source: str, text: str) -> Iterator[tuple[str, list[str]]]:
    titles: dict[int, str] = {}
    lines: list[str] = []
    is_code = False
    for line in text.splitlines():
        is_code ^= bool(_FENCE.match(line))
        found = None if is_code else _HEADING.match(line)
        if found is None:
            lines.append(line)
            continue
        yield _trail(source, titles), _blocks(lines)
        lines = []
        level = len(found[1])
        titles = {depth: title for depth, title in titles.items() if depth < level} | {level: found[2]}
    yield _trail(source, titles), _blocks(lines)


def _trail(source: str, titles: dict[int, str]) -> str:
    return " > ".join(titles[level] for level in sorted(titles)) or source


def _blocks(lines: Iterable[str]) -> list[str]:
    """Paragraphs; a long table is split between its rows."""
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines).strip())
    return [piece for paragraph in paragraphs for piece in _split(paragraph)]


def _split(paragraph: str) -> list[str]:
    is_long_list = len(paragraph) > _LONGEST and paragraph.lstrip().startswith(("|", "-", "*", "1."))
    return paragraph.splitlines() if is_long_list else [paragraph]


def _join(blocks: Iterable[str]) -> Iterator[str]:
    held = ""
    for block in blocks:
        if held and len(held) + len(block) > _LONGEST:
            yield held
            held = ""
        held = f"{held}\n{block}".strip()
    if held:
        yield held


def from_python(module: str, text: str) -> Iterator[Passage]:
    """Yield the passages of a module: what it says of itself and its functions, and each class with its methods."""
    tree = ast.parse(text)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    own = [ast.get_docstring(tree) or "", *_lines(functions)]
    yield from _docstrings(module, own)
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            methods = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
            yield from _docstrings(f"{module}.{node.name}", [ast.get_docstring(node) or "", *_lines(methods)])


def _lines(definitions: Iterable[_Definition]) -> list[str]:
    public = [node for node in definitions if not node.name.startswith("_")]
    return [f"{node.name}: {docstring}" for node in public if (docstring := ast.get_docstring(node))]


def _docstrings(name: str, docstrings: list[str]) -> Iterator[Passage]:
    for joined in _join(filter(None, docstrings)):
        if len(joined) >= _SHORTEST_DOCSTRING:
            yield Passage(name, name, joined)
