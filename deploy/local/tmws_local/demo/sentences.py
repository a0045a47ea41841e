"""Picking the sentence that answers, as far as words can tell."""

from __future__ import annotations

import re

_WORD = re.compile(r"[a-z0-9]{3,}")
_ENDS = re.compile(r"(?<=[.!?;])\s+|\n\s*\n|\n(?=[|#-])")


def best_sentence(question: str, text: str) -> str:
    """Return the sentence of the text that shares most words with the question, on one line."""
    asked = _words(question)
    sentences = [" ".join(part.split()) for part in _ENDS.split(text)]
    return max(sentences, key=lambda sentence: len(_words(sentence) & asked), default="")


def _words(text: str) -> set[str]:
    """The words without their endings, roughly."""
    return {word[:5] for word in _WORD.findall(text.lower())}
