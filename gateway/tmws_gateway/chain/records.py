"""The links of the chain. What is written here is fixed: records of years ago must still fit.

An event is its fields by name: text, integers, lists of text and null. Its canonical form 1 is JSON as RFC 8785 (JCS)
has it, of the fields in `FIELDS` and `"version": 1`. The hash of a record is SHA-256 over the hash of the record before
it (32 bytes; zeros before the first), its `seq` (8 bytes, big-endian) and that form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import orjson

Event: TypeAlias = Mapping[str, Any]

GENESIS = bytes(32)
VERSION = 1
FIELDS = (
    "id",
    "occurred_at",
    "namespace",
    "subject",
    "key_id",
    "persona",
    "address",
    "action",
    "resource",
    "decision",
    "status",
    "request_id",
    "trace_id",
    "changed_fields",
    "field_digests",
    "duration_us",
    "repeats",
)


class Head(NamedTuple):
    """The last record of a chain; 0 and zeros when it is empty."""

    seq: int = 0
    hash: bytes = GENESIS


class Record(NamedTuple):
    """An event in its place; `version` is that of the canonical form."""

    seq: int
    hash: bytes
    event: Event
    version: int = VERSION


def canonical(event: Event, version: int = VERSION) -> bytes:
    """Return the canonical form of an event.

    Names are ASCII and numbers integers, so that sorted JSON without spaces is what JCS asks for.
    """
    fields = {name: event[name] for name in FIELDS}
    return orjson.dumps({**fields, "version": version}, option=orjson.OPT_SORT_KEYS)


def link(previous: bytes, seq: int, form: bytes) -> bytes:
    """Return the hash of the record with this canonical form."""
    return hashlib.sha256(b"".join((previous, seq.to_bytes(8, "big", signed=True), form))).digest()


def extend(head: Head, events: Iterable[Event]) -> list[Record]:
    """Return the records that put events behind the head, in their order."""
    records: list[Record] = []
    for seq, event in enumerate(events, head.seq + 1):
        head = Head(seq, link(head.hash, seq, canonical(event)))
        records.append(Record(seq, head.hash, event))
    return records
