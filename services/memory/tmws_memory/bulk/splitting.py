"""Bytes as they come to the records of a file: its lines, or the elements of a list in a JSON document (pure).

Nothing longer than one record is held. What is longer than MAX_RECORD_BYTES is passed over to its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

MAX_RECORD_BYTES: Final = 2 * 1024 * 1024
# The lists of records in the documents that other programs write.
LISTS: Final = frozenset({"memories", "results", "entities", "relations"})
# A document is told from a line by its first key.
_DOCUMENT_KEYS: Final = LISTS | {
    "export_metadata", "export_date", "exported_at", "total", "total_memories", "total_count", "count", "next",
    "previous", "page", "page_size", "has_more", "success",
}  # fmt: skip
_FIRST_KEY: Final = re.compile(rb'\s*\{\s*"([^"\\]{1,64})"')
_OUTSIDE: Final = re.compile(rb'[\[\]{}",:]|[^\s\[\]{}",:]+')
_INSIDE: Final = re.compile(rb'["\\]')
PREFIX_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Record:
    """A piece of a file; `raw` is None when it is too long. `place` is its pointer in a document, else empty."""

    line: int
    raw: bytes | None
    name: str = ""
    place: str = ""


class Splitter(Protocol):
    """Cuts a file into records."""

    def feed(self, data: bytes) -> Iterator[Record]:
        """Take the next bytes and yield the records that end in them."""
        ...

    def end(self) -> Iterator[Record]:
        """Yield what is left at the end of the file."""
        ...

    @property
    def is_whole(self) -> bool | None:
        """Whether the file ended where it should; None when that cannot be told."""
        ...


def splitter_for(beginning: bytes) -> Splitter:
    """Return how to cut a file that begins like this (the first 4 KiB)."""
    stripped = beginning.lstrip()
    first_key = _FIRST_KEY.match(beginning)
    is_pretty = stripped.partition(b"\n")[0].strip() == b"{" and b"\n" in stripped
    if stripped.startswith(b"[") or is_pretty or (first_key and _is_document_key(first_key[1])):
        return DocumentSplitter()
    return LineSplitter()


def _is_document_key(key: bytes) -> bool:
    return key.decode("utf-8", "replace") in _DOCUMENT_KEYS


class LineSplitter:
    """Cuts at line ends; blank lines are no records."""

    is_whole: bool | None = None

    def __init__(self) -> None:
        self._line = 0
        self._held = bytearray()
        self._is_too_long = False

    def feed(self, data: bytes) -> Iterator[Record]:
        """Take the next bytes and yield the lines that end in them."""
        *ended, rest = data.split(b"\n")
        for part in ended:
            self._hold(part)
            yield from self.end()
        self._hold(rest)

    def end(self) -> Iterator[Record]:
        """Yield the line that is held."""
        self._line += 1
        held, self._held = bytes(self._held), bytearray()
        if self._is_too_long:
            self._is_too_long = False
            yield Record(self._line, None)
        elif held.strip():
            yield Record(self._line, held)

    def _hold(self, part: bytes) -> None:
        if self._is_too_long or len(self._held) + len(part) > MAX_RECORD_BYTES:
            self._is_too_long = True
            self._held.clear()
        else:
            self._held += part


class DocumentSplitter:
    """Cuts out the elements of a list at the top, or of those lists in an object at the top that LISTS names."""

    def __init__(self) -> None:
        self._line: int = 1
        self._depth: int = 0
        self._in_string: bool = False
        self._is_escaped: bool = False
        self._is_over: bool = False
        self._is_broken: bool = False
        self._key = bytearray()
        self._is_key: bool = False
        # The depth in which elements lie, 0 outside of a list of records; which list, and how many elements it had.
        self._level: int = 0
        self._list: str = ""
        self._index: int = 0
        self._held: bytearray | None = None
        self._began: int = 1
        self._is_too_long: bool = False

    @property
    def is_whole(self) -> bool | None:
        """Whether the document ended where it should."""
        return self._is_over and not self._is_broken

    def feed(self, data: bytes) -> Iterator[Record]:
        """Take the next bytes and yield the elements that end in them."""
        place = 0
        while place < len(data):
            if self._is_escaped:
                end, self._is_escaped = place + 1, False
                self._keep(data[place:end])
            elif self._in_string:
                end = self._read_string(data, place)
            else:
                found = _OUTSIDE.search(data, place)
                end = found.end() if found else len(data)
                self._line += data.count(b"\n", place, end)
                if found is None:
                    self._keep(data[place:])
                else:
                    self._keep(data[place : found.start()])
                    yield from self._read_token(found[0])
            place = end

    def end(self) -> Iterator[Record]:
        """Yield the element that is cut off, if there is one."""
        if self._held is not None or self._is_too_long:
            yield self._take()

    def _read_string(self, data: bytes, place: int) -> int:
        found = _INSIDE.search(data, place)
        end = found.end() if found else len(data)
        self._keep(data[place:end])
        if found and found[0] == b"\\":
            self._is_escaped = True
        elif found:
            self._in_string = False
        return end

    def _read_token(self, token: bytes) -> Iterator[Record]:
        if self._is_over:
            self._is_broken = True
        at_elements = self._level and self._depth == self._level
        if at_elements and token in (b",", b"]"):
            if self._held is not None or self._is_too_long:
                yield self._take()
        elif at_elements and self._held is None and not self._is_too_long:
            self._held, self._began = bytearray(), self._line
        if token == b'"':
            self._in_string = True
            if self._depth == 1 and not self._level:
                self._key.clear()
                self._is_key = True
        self._move(token)
        self._keep(token)

    def _move(self, token: bytes) -> None:
        if token in (b"[", b"{"):
            self._depth += 1
            if token == b"[" and not self._level and self._depth <= 2:
                self._open_list()
        elif token in (b"]", b"}"):
            if self._depth == self._level and token == b"]":
                self._level = 0
            self._depth -= 1
            self._is_over = self._depth <= 0

    def _open_list(self) -> None:
        name = self._key.decode("utf-8", "replace").strip('"') if self._depth == 2 else ""
        if self._depth == 1 or name in LISTS:
            self._level, self._list, self._index = self._depth, name, 0

    def _keep(self, data: bytes) -> None:
        if self._is_key and self._is_part_of_key(data):
            return
        if self._held is None:
            return
        if len(self._held) + len(data) > MAX_RECORD_BYTES:
            self._held, self._is_too_long = None, True
        else:
            self._held += data

    def _is_part_of_key(self, data: bytes) -> bool:
        """Collect the key of a member of the top object, up to its colon."""
        if data == b":":
            self._is_key = False
        elif len(self._key) < 64 and not data.isspace():
            self._key += data[:64]
        return True

    def _take(self) -> Record:
        raw = None if self._held is None else bytes(self._held)
        place = f"/{self._list}/{self._index}" if self._list else f"/{self._index}"
        self._held, self._is_too_long = None, False
        self._index += 1
        return Record(self._began, raw, self._list, place)
