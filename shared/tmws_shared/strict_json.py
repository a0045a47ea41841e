"""Reads JSON that every reader understands alike (RFC 8259, and I-JSON, RFC 7493): or refuses it by name."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from tmws_contracts.common import JSON_MAX_DEPTH, FieldProblem
from tmws_shared.problems import InvalidRequest, MalformedRequest, ProblemError

_POINTER_MAX = 512
_BOM = b"\xef\xbb\xbf"
_OPENING, _CLOSING = b"[{", b"]}"
# The closing quote is optional: a string that never ends must not be tried again from each of its quotes.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(_OPENING + _CLOSING))
_STRING_OR_BRACKET = re.compile(_STRING.pattern + rb"|[\[\]{}]", re.DOTALL)
# Only an escape can bring U+0000 or a surrogate into text that is valid UTF-8.
_BAD_ESCAPE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")

Place: TypeAlias = "tuple[Place, str | int] | None"


@dataclass(frozen=True, slots=True)
class _Refused:
    """Stands in the tree where a value was refused."""

    problem: type[ProblemError]
    detail: str
    key: str | None = None


@dataclass(slots=True)
class _Values:
    """What the decoder makes of each value; `refused` tells whether the tree holds a refusal."""

    refused: list[_Refused] = field(default_factory=list["_Refused"])

    def _refuse(self, problem: type[ProblemError], detail: str, key: str | None = None) -> _Refused:
        refusal = _Refused(problem, detail, key)
        self.refused.append(refusal)
        return refusal

    def integer(self, digits: str) -> int | _Refused:
        if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
            return self._refuse(MalformedRequest, "must be an integer of at most 64 bits")
        return int(digits)

    def number(self, digits: str) -> float | _Refused:
        value = float(digits)
        return value if math.isfinite(value) else self._refuse(InvalidRequest, "must be a number of finite size")

    def constant(self, name: str) -> _Refused:
        return self._refuse(InvalidRequest, "must not be NaN or Infinity")

    def pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Refused:
        value = dict(pairs)
        if len(value) == len(pairs):
            return value
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        return self._refuse(MalformedRequest, "must not be given twice", twice)


def read_json(raw: bytes) -> Any:
    """Return the JSON value that `raw` holds.

    Raises:
        MalformedRequest: it is not UTF-8 JSON, starts with a BOM, is nested deeper than 32 levels, names a key
            twice or holds an integer over 64 bits.
        InvalidRequest: it holds NaN, Infinity, a number too large, U+0000 or a lone surrogate.
    """
    if raw.startswith(_BOM):
        raise _problem(MalformedRequest, "", "must not start with a byte order mark")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise _problem(MalformedRequest, "", "must be JSON in UTF-8") from None
    _check_depth(raw)
    values = _Values()
    decoder = json.JSONDecoder(
        object_pairs_hook=values.pairs,
        parse_float=values.number,
        parse_int=values.integer,
        parse_constant=values.constant,
    )
    try:
        tree = decoder.decode(text)
    except json.JSONDecodeError as error:
        detail = f"must be valid JSON (line {error.lineno}, column {error.colno})"
        raise _problem(MalformedRequest, "", detail) from None
    if values.refused or _BAD_ESCAPE.search(raw):
        _raise_first(tree)
    return tree


def _problem(kind: type[ProblemError], pointer: str, detail: str) -> ProblemError:
    return kind(f"{pointer or 'body'}: {detail}", errors=[FieldProblem(pointer=pointer, detail=detail)])


def _check_depth(raw: bytes) -> None:
    if raw.count(b"[") + raw.count(b"{") <= JSON_MAX_DEPTH:
        return
    depth = 0
    for bracket in _STRING.sub(b"", raw).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in _OPENING else -1
        if depth > JSON_MAX_DEPTH:
            pointer = _pointer_of_depth(raw)
            raise _problem(MalformedRequest, pointer, f"must not be nested deeper than {JSON_MAX_DEPTH} levels")


def _pointer_of_depth(raw: bytes) -> str:
    """Where the nesting goes too deep: cut the text there, close what is open, look at the last value."""
    open_brackets: list[bytes] = []
    for found in _STRING_OR_BRACKET.finditer(raw):
        token = found.group()
        if token in (b"[", b"{"):
            if len(open_brackets) == JSON_MAX_DEPTH:
                closing = b"".join(b"]" if token == b"[" else b"}" for token in reversed(open_brackets))
                return _pointer_of_last(raw[: found.start()] + b"null" + closing)
            open_brackets.append(token)
        elif token in (b"]", b"}") and open_brackets:
            open_brackets.pop()
    return ""


def _pointer_of_last(raw: bytes) -> str:
    try:
        value = json.loads(raw, object_pairs_hook=tuple, parse_int=str)
    except json.JSONDecodeError:
        return ""
    place: Place = None
    while isinstance(value, (list, tuple)) and value:
        items = cast("list[Any]", value)
        if isinstance(value, tuple):
            key, value = items[-1]
        else:
            key, value = len(items) - 1, items[-1]
        place = (place, key)
    return _pointer(place)


def _raise_first(tree: Any) -> None:
    """Raise for the first value, in the order of the text, that is refused."""
    waiting: list[tuple[Place, Any]] = [(None, tree)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, _Refused):
            _raise_refusal(place, value)
        if isinstance(value, str):
            _check_text(place, value, "must not contain")
        elif isinstance(value, dict):
            items = cast("dict[str, Any]", value)
            for key in items:
                _check_text(place, key, "must not have a key with")
            waiting += [((place, key), item) for key, item in reversed(items.items())]
        elif isinstance(value, list):
            listed = cast("list[Any]", value)
            waiting += [((place, index), listed[index]) for index in range(len(listed) - 1, -1, -1)]


def _raise_refusal(place: Place, refusal: _Refused) -> None:
    if refusal.key is not None:
        _check_text(place, refusal.key, "must not have a key with")
        place = (place, refusal.key)
    raise _problem(refusal.problem, _pointer(place), refusal.detail)


def _check_text(place: Place, text: str, prefix: str) -> None:
    if text.isascii():
        fault = "U+0000" if "\0" in text else None
    else:
        fault = "U+0000" if "\0" in text else "a lone surrogate" if _has_surrogate(text) else None
    if fault:
        raise _problem(InvalidRequest, _pointer(place), f"{prefix} {fault}")


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _pointer(place: Place) -> str:
    """The JSON pointer (RFC 6901) of a place; of the nearest one around it when that would be very long."""
    keys: list[str] = []
    while place is not None:
        place, key = place
        keys.append("/" + str(key).replace("~", "~0").replace("/", "~1"))
    pointer = ""
    for key in reversed(keys):
        if len(pointer) + len(key) > _POINTER_MAX or _has_surrogate(key):
            break
        pointer += key
    return pointer
