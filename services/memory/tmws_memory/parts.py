"""What of a memory is embedded: its content in parts that fit the model, each under a heading (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

# The model reads 256 tokens. Counting them is the embedding service's art; this estimate is never far below it.
MAX_TOKENS = 250
_LETTERS_PER_TOKEN = 5
_UNIT = re.compile(r"(?P<word>[A-Za-z]+)|(?P<number>\d+)|(?P<blank>\s+)|(?P<sign>.)", re.DOTALL)
# The last three are the full-width 。, ! and ? of Chinese and Japanese, after which no space follows.
_SENTENCE_ENDS = frozenset(".!?\u2026\u3002\uff01\uff1f")
_UNSPACED_ENDS = frozenset("\u3002\uff01\uff1f")
_HEADING_MAX_LENGTH = 200
_HEADING_TOKENS = 60


class Told(Protocol):
    """What a heading is made of."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the caller noted; `title` and `speaker` are of interest."""
        ...

    @property
    def session_id(self) -> str | None:
        """The conversation."""
        ...

    @property
    def occurred_at(self) -> datetime | None:
        """When it happened."""
        ...


def heading_of(memory: Told, persona_id: str | None) -> str:
    """Return who said it, when, under which title, as far as the memory tells; it is indexed with the content.

    In conversations this finds half as many answers again: questions name people and dates, turns do not.
    """
    named = [memory.metadata.get("title"), memory.metadata.get("speaker")]
    if memory.session_id and not named[1]:
        named.append(persona_id)
    words = [name for name in named if isinstance(name, str) and name.strip()]
    if memory.occurred_at:
        words.append(_date(memory.occurred_at))
    return ", ".join(words)[:_HEADING_MAX_LENGTH]


def _date(moment: datetime) -> str:
    return f"{moment.day} {moment:%B} {moment.year}"


def split_content(content: str, heading: str = "") -> list[str]:
    """Return the content in parts of at most about 250 tokens, cut between sentences where possible."""
    if not heading:
        return _cut(content, MAX_TOKENS)
    return [f"{heading}: {part}" for part in _cut(content, MAX_TOKENS - _HEADING_TOKENS)]


def _cut(content: str, max_tokens: int) -> list[str]:
    if len(content) <= max_tokens:
        return [content]
    parts: list[str] = []
    begin, tokens, place = 0, 0, _Place()
    for unit in _UNIT.finditer(content):
        cost = _tokens(unit)
        if tokens + cost > max_tokens:
            end, kept = place.best(unit.start(), tokens)
            parts.append(content[begin:end])
            begin, tokens, place = end, tokens - kept, _Place()
        tokens += cost
        place.pass_by(unit, tokens)
    parts.append(content[begin:])
    return [part for part in (part.strip() for part in parts) if part]


def _tokens(unit: re.Match[str]) -> int:
    match unit.lastgroup:
        case "blank":
            return 0
        case "word":
            return -(-len(unit[0]) // _LETTERS_PER_TOKEN)
        case "number":
            return -(-len(unit[0]) // 2)
        case _:
            return 1


class _Place:
    """Where the current part could end: after the last sentence, else after the last word."""

    def __init__(self) -> None:
        self._sentence: tuple[int, int] | None = None
        self._word: tuple[int, int] | None = None
        self._previous = ""

    def pass_by(self, unit: re.Match[str], tokens: int) -> None:
        """Note a unit that still fits; `tokens` are those of the part up to its end."""
        if unit.lastgroup == "blank":
            self._word = (unit.end(), tokens)
            if self._previous in _SENTENCE_ENDS or unit[0].count("\n") > 1:
                self._sentence = self._word
        elif unit[0] in _UNSPACED_ENDS:
            self._sentence = (unit.end(), tokens)
        self._previous = unit[0][-1]

    def best(self, here: int, tokens: int) -> tuple[int, int]:
        """Return position and tokens of the end; a sentence may cost half the part, no more."""
        if self._sentence and self._sentence[1] * 2 >= tokens:
            return self._sentence
        return self._word or (here, tokens)
