"""The words of a text, so that `optimising` finds `optimization` (pure)."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import Final

# Of longer words only so many letters count: enough to tell them apart, and no ending.
STEM_LETTERS: Final = 6
_WORD: Final = re.compile(r"[^\W_]+")
# Scripts without spaces between words; two neighbouring letters stand for a word.
_UNSPACED: Final = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_SAYING_NOTHING: Final = """
    a an and any are as at be been but by can could did do does for from had has have how i if in into is it its
    me my no nor not of on one or our out should so some than that the their them then there these they this those
    to too us was we were what when where which who whom why will with would you your
"""
_STOP_WORDS: Final = frozenset(_WORD.findall(_SAYING_NOTHING))


def stems(text: str) -> frozenset[str]:
    """Return the beginnings of the words that say something, in small letters."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    found = {word[:STEM_LETTERS] for word in _WORD.findall(_UNSPACED.sub(" ", plain)) if word not in _STOP_WORDS}
    for run in _UNSPACED.findall(plain):
        found |= {first + second for first, second in pairwise(run)} or {run}
    return frozenset(found)
