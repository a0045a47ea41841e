"""Durations as people write them: `500ms`, `5s`, `1h30m`, `2d`."""

from __future__ import annotations

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)", re.ASCII)
_WHOLE = re.compile(rf"(?:{_PART.pattern}){{1,5}}", re.ASCII)
LONGEST_S = 366 * 86400.0
EXPECTED = "must be a duration such as 500ms, 5s, 1h30m or 2d"


def parse_duration(text: str) -> float:
    """Return the seconds a duration stands for.

    Raises:
        ValueError: it is not a duration.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(EXPECTED)
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def duration_problem(text: str) -> str | None:
    """Return what is wrong with the duration of a wait, None when nothing is."""
    try:
        return None if 0 < parse_duration(text) <= LONGEST_S else "must be more than 0 and at most 366d"
    except ValueError as error:
        return str(error)
