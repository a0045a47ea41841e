"""Changes one member of a JSON text and leaves every other byte of it as it is.

A client's configuration belongs to its user: the order of keys, the indentation, unknown keys and the way numbers
are written stay. What is not plain JSON (comments, trailing commas) is not touched at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from tmws_local.errors import StackError

_DECODER = json.JSONDecoder()
_BLANK = re.compile(r"[ \t\r\n]*")
_INDENT = re.compile(r"\{\r?\n([ \t]+)")
JsonObject = dict[str, Any]


class NotPlainJson(StackError):
    """The text is not a JSON object that can be changed safely."""


@dataclass(frozen=True)
class _Member:
    """Where a member of an object is in the text: from its key to the end of its value."""

    name: str
    start: int
    value: int
    end: int


def parse(text: str) -> JsonObject:
    """Return the JSON object in the text; a blank one is empty.

    Raises:
        NotPlainJson: it is something else; the message says where.
    """
    if not text.strip():
        return {}
    try:
        document = json.loads(text, object_pairs_hook=_without_repetition, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise NotPlainJson(f"it is not valid JSON ({error})") from None
    if not isinstance(document, dict):
        raise NotPlainJson("it is not a JSON object")
    return cast("JsonObject", document)


def with_member(text: str, path: Sequence[str], value: Any) -> str:
    """Return the text with the member at `path` set; objects on the way are made when they are missing.

    Raises:
        NotPlainJson: the text is no JSON object, or something on the way is none.
    """
    document = parse(text)
    if not document:
        return _dump(_nested(path, value), "  ", "\n", 0) + "\n"
    depth, start, members = _walk(text, path)
    style = _Style.of(text)
    name, rest = path[depth], path[depth + 1 :]
    found = _find(members, name)
    if found is not None:
        return text[: found.value] + style.dump(value, depth + 1) + text[found.end :]
    added = f"{json.dumps(name)}: {style.dump(_nested(rest, value), depth + 1)}"
    if members:
        end = members[-1].end
        return f"{text[:end]},{style.line(depth + 1)}{added}{text[end:]}"
    end = text.index("}", start)
    return f"{text[: start + 1]}{style.line(depth + 1, fallback='')}{added}{style.line(depth, fallback='')}{text[end:]}"


def without_member(text: str, path: Sequence[str]) -> str:
    """Return the text without the member at `path`; a text that has none comes back as it is.

    Raises:
        NotPlainJson: the text is no JSON object, or something on the way is none.
    """
    if not parse(text):
        return text
    depth, start, members = _walk(text, path)
    found = _find(members, path[depth])
    if depth != len(path) - 1 or found is None:
        return text
    place = members.index(found)
    if place:
        return text[: members[place - 1].end] + text[found.end :]
    if len(members) > 1:
        return text[: found.start] + text[members[1].start :]
    return text[: start + 1] + text[text.index("}", found.end) :]


@dataclass(frozen=True)
class _Style:
    """How a text is laid out; without an indentation everything is on one line."""

    indent: str
    newline: str

    @classmethod
    def of(cls, text: str) -> _Style:
        found = _INDENT.search(text)
        return cls(found[1] if found else "", "\r\n" if "\r\n" in text else "\n")

    def line(self, depth: int, *, fallback: str = " ") -> str:
        return self.newline + self.indent * depth if self.indent else fallback

    def dump(self, value: Any, depth: int) -> str:
        return _dump(value, self.indent, self.newline, depth)


def _dump(value: Any, indent: str, newline: str, depth: int) -> str:
    text = json.dumps(value, indent=indent or None, ensure_ascii=False)
    return text.replace("\n", newline + indent * depth)


def _nested(path: Sequence[str], value: Any) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


def _walk(text: str, path: Sequence[str]) -> tuple[int, int, list[_Member]]:
    """Return how far the path exists, where the object there begins, and its members."""
    start = _skip(text, 0)
    members = _members(text, start)
    for depth, name in enumerate(path[:-1]):
        found = _find(members, name)
        if found is None:
            return depth, start, members
        if text[found.value] != "{":
            raise NotPlainJson(f'"{name}" in it is not a JSON object')
        start = found.value
        members = _members(text, start)
    return len(path) - 1, start, members


def _members(text: str, start: int) -> list[_Member]:
    """Return the members of the object that begins at `start`; the text is known to be valid."""
    members: list[_Member] = []
    place = _skip(text, start + 1)
    while text[place] != "}":
        name, after = _DECODER.raw_decode(text, place)
        value = _skip(text, _skip(text, after) + 1)
        _, end = _DECODER.raw_decode(text, value)
        members.append(_Member(name, place, value, end))
        after_value = _skip(text, end)
        place = _skip(text, after_value + 1) if text[after_value] == "," else after_value
    return members


def _find(members: Sequence[_Member], name: str) -> _Member | None:
    return next((member for member in members if member.name == name), None)


def _skip(text: str, place: int) -> int:
    found = _BLANK.match(text, place)
    return found.end() if found else place


def _without_repetition(pairs: list[tuple[str, Any]]) -> JsonObject:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key is there twice")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
