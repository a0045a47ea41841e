"""What the demo prints: plain text of 100 columns, bold headings on a terminal only."""

from __future__ import annotations

import os
import sys
import textwrap

WIDTH = 100


class Screen:
    """Writes for a person who reads along."""

    def __init__(self) -> None:
        self._has_bold = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def heading(self, text: str) -> None:
        """Write the heading of a part."""
        line = f"== {text} ".ljust(WIDTH, "=")
        self._write(f"\n\x1b[1m{line}\x1b[0m" if self._has_bold else f"\n{line}")

    def say(self, text: str, indent: int = 0, hanging: int = 0) -> None:
        """Write a paragraph; lines after its first are indented by `hanging` more."""
        first, rest = " " * indent, " " * (indent + hanging)
        self._write(textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False))

    def row(self, text: str, indent: int = 2) -> None:
        """Write one line, cut at the edge."""
        line = " " * indent + " ".join(text.split("\n"))
        self._write(line if len(line) <= WIDTH else line[: WIDTH - 1] + "…")

    def gap(self) -> None:
        """Write an empty line."""
        self._write("")

    def _write(self, text: str) -> None:
        sys.stdout.write(text.rstrip() + "\n")
        sys.stdout.flush()
