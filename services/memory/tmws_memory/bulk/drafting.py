"""What is to be stored of a batch of records (pure): every memory checked, with its owner, its vectors, its words."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tmws_contracts.common import FieldProblem
from tmws_contracts.memory import Tier
from tmws_contracts.memory_bulk import ImportFormat, MemoryRecord, PackedVectors
from tmws_memory.bulk.formats import End, Faulty, Good, read_record
from tmws_memory.bulk.splitting import Record
from tmws_memory.errors import ForeignPersona
from tmws_memory.models import DIMENSION
from tmws_memory.parts import heading_of
from tmws_memory.terms import count_terms, term_key
from tmws_memory.visibility import check_persona, owner_of
from tmws_memory.words import WORD
from tmws_shared.auth import Principal

# Clocks differ a little.
_FUTURE: Final = timedelta(minutes=5)
# Rounded to half precision, a vector of length 1 stays within a thousandth of it.
_LENGTH_TOLERANCE: Final = 0.01
MOST_FREQUENT: Final = 65_535
_TYPES: Final = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}


@dataclass(frozen=True, slots=True)
class Rules:
    """Who imports what, when, and how long a short-term memory lives that does not say it."""

    caller: Principal
    wanted: ImportFormat
    at: datetime
    short_term: timedelta


@dataclass(frozen=True, slots=True)
class Draft:
    """A memory to store. `vectors` is float [parts, 384], None when it has to be embedded yet."""

    memory: MemoryRecord
    owner: str
    persona_id: str | None
    expires_at: datetime | None
    digest: bytes
    vectors: NDArray[np.floating] | None

    @property
    def model(self) -> tuple[str, str] | None:
        """Name and precision of what made the vectors."""
        made_by = self.memory.embedding
        return None if made_by is None else (made_by.model, made_by.precision)


@dataclass(slots=True)
class Batch:
    """Some records in a row."""

    drafts: list[Draft] = field(default_factory=list["Draft"])
    faults: list[Faulty] = field(default_factory=list["Faulty"])
    promised: int | None = None


def draft_batch(records: Sequence[Record], rules: Rules) -> Batch:
    """Return what there is in some records."""
    batch = Batch()
    for record in records:
        for found in read_record(record, rules.wanted):
            if isinstance(found, End):
                batch.promised = found.count
            elif isinstance(found, Faulty):
                batch.faults.append(found)
            else:
                _add(batch, found, rules)
    return batch


def _add(batch: Batch, good: Good, rules: Rules) -> None:
    try:
        batch.drafts.append(_draft(good.memory, rules))
    except _Refused as refused:
        problem = FieldProblem(pointer=f"{good.place}{refused.pointer}", detail=str(refused))
        batch.faults.append(Faulty(good.line, [problem]))


class _Refused(Exception):
    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(detail)
        self.pointer = pointer


def _draft(memory: MemoryRecord, rules: Rules) -> Draft:
    if memory.created_at is not None and memory.created_at > rules.at + _FUTURE:
        raise _Refused("/created_at", "must not lie in the future")
    persona_id = memory.persona_id if "persona_id" in memory.model_fields_set else rules.caller.persona
    try:
        check_persona(rules.caller, persona_id)
        owner = owner_of(rules.caller, memory.visibility, persona_id)
    except ForeignPersona as error:
        raise _Refused("/persona_id", error.errors[0].detail) from None
    digest = hashlib.sha256(memory.content.encode()).digest()
    vectors = None if memory.embedding is None else unpack_vectors(memory.embedding)
    return Draft(memory, owner, persona_id, _expiry(memory, rules), digest, vectors)


def _expiry(memory: MemoryRecord, rules: Rules) -> datetime | None:
    if memory.expires_at is not None and memory.expires_at <= rules.at:
        raise _Refused("/expires_at", "must not be over")
    if memory.kept_as is Tier.LONG_TERM and memory.expires_at is None:
        return None
    life = timedelta(seconds=memory.ttl_seconds) if memory.ttl_seconds else rules.short_term
    return memory.expires_at or rules.at + life


def tier_of(draft: Draft) -> Tier:
    """Return in which tier a memory is stored: one that expires is short-term."""
    return Tier.SHORT_TERM if draft.expires_at is not None else Tier.LONG_TERM


def unpack_vectors(packed: PackedVectors) -> NDArray[np.floating]:
    """Return vectors as an array [parts, 384]."""
    kind = _TYPES[packed.dtype]
    raw = [_decode(text, index, kind.itemsize * DIMENSION) for index, text in enumerate(packed.vectors)]
    vectors = np.frombuffer(b"".join(raw), kind).reshape(-1, DIMENSION)
    wide = vectors.astype(np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    # What is not a number is not within the tolerance, either.
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _LENGTH_TOLERANCE))
    if len(wrong):
        raise _Refused(f"/embedding/vectors/{wrong[0]}", "must be numbers that make a vector of length 1")
    return vectors


def _decode(text: str, index: int, size_bytes: int) -> bytes:
    try:
        raw = b64decode(text, validate=True)
    except ValueError:
        raw = b""
    if len(raw) != size_bytes:
        raise _Refused(f"/embedding/vectors/{index}", f"must be base64 of {DIMENSION} numbers")
    return raw


def read_words(drafts: Sequence[Draft]) -> list[bytes]:
    """Return the words of memories, packed."""
    return pack_all([_count(draft) for draft in drafts])


def _count(draft: Draft) -> dict[int, int]:
    heading = heading_of(draft.memory, draft.persona_id)
    counts = count_terms(f"{heading}\n{draft.memory.content}")
    return {term_key(term): count for term, count in counts.items()}


def pack_all(counts: Sequence[Mapping[int, int]]) -> list[bytes]:
    """Return what `pack_words` makes of each, in a third of the time."""
    sizes = np.array([len(each) for each in counts], np.int64)
    words = np.empty(int(sizes.sum()), WORD)
    words["term"] = np.fromiter(chain.from_iterable(counts), np.int64, len(words))
    frequencies = np.fromiter(chain.from_iterable(each.values() for each in counts), np.int64, len(words))
    words["frequency"] = np.minimum(frequencies, MOST_FREQUENT)
    # By memory, which they are already, and then by term.
    words = words[np.lexsort((words["term"], np.repeat(np.arange(len(sizes)), sizes)))]
    ends = np.cumsum(sizes)
    return [words[end - size : end].tobytes() for end, size in zip(ends.tolist(), sizes.tolist(), strict=True)]
