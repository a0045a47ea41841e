"""Stored text as it may stand in a prompt: on one line, without tricks, inside a fence that it cannot close (pure)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

ELLIPSIS: Final = "…"
# Marks that make a text look other than it is read, and the invisible letters that smuggle one past people.
_DECEIVING: Final = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]")
# An image is fetched when it is shown: what stands in its address leaves with it.
_REMOTE_IMAGE: Final = re.compile(r"!\[[^\]]{0,1000}\]\(\s{0,9}<?(?:https?:)?//|<img\b", re.IGNORECASE)
_BACKTICKS: Final = re.compile("`+")
_NOT_SHOWN: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})


def tricks_in(text: str) -> list[str]:
    """Return what in a text is meant to be overlooked, or acts when it is shown; the text stays as it is."""
    found = {"invisible or turning characters": _DECEIVING.search(text), "remote image": _REMOTE_IMAGE.search(text)}
    return [trick for trick, match in found.items() if match]


def one_line(text: str) -> str:
    """Return a text on one line, without control and direction marks and invisible letters."""
    visible = _DECEIVING.sub("", text)
    return " ".join("".join(" " if unicodedata.category(char) in _NOT_SHOWN else char for char in visible).split())


def excerpt(text: str, max_chars: int) -> str:
    """Return the beginning of a text on one line; an ellipsis says that there is more."""
    # Not more of it is looked at than could be shown, were it half marks and spaces.
    line = one_line(text[: max_chars * 4])
    if len(line) <= max_chars and len(text) <= max_chars * 4:
        return line
    return line[: max_chars - 1].rstrip() + ELLIPSIS


def label(value: str, max_chars: int = 100) -> str:
    """Return a name that somebody chose, so that it cannot end the brackets it stands in."""
    return excerpt(value.translate(str.maketrans("[];", "(),")), max_chars)


def fence(lines: Sequence[str]) -> str:
    """Return lines inside a code fence that is longer than any in them (CommonMark, section 4.5)."""
    longest = max((len(run) for line in lines for run in _BACKTICKS.findall(line)), default=0)
    marks = "`" * max(3, longest + 1)
    return "\n".join([f"{marks}data", *lines, marks])
