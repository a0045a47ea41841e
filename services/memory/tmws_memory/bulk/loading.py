"""SQL that stores many memories at once, with all that finds them, and keeps how far an import is."""

# asyncpg has no type stubs; copying is not in the narrow interface of tmws_shared.database.
# pyright: reportUnknownMemberType=false
from __future__ import annotations

import io
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import numpy as np
import orjson
from numpy.typing import NDArray

from tmws_contracts.common import FieldProblem
from tmws_contracts.memory_bulk import ImportFault
from tmws_memory.bulk.drafting import Draft, tier_of
from tmws_memory.indexing import TERMS_VERSION
from tmws_memory.models import DIMENSION
from tmws_shared.clock import new_id
from tmws_shared.database import Connection, Database, unavailable_when_lost
from tmws_shared.problems import Conflict, Unavailable

_KNOWN: Final = """
    SELECT n.place FROM unnest($1::integer[], $2::bytea[]) WITH ORDINALITY n (collection, hash, place)
    JOIN memories m ON m.collection = n.collection AND m.content_hash = n.hash AND m.deleted_at IS NULL
"""
_NUMBERS: Final = "SELECT nextval('memory_numbers') AS number FROM generate_series(1, $1::integer)"
# By hash, so that two imports of the same contents wait for each other in one order.
_INSERT: Final = """
    INSERT INTO memories (
        id, number, collection, content, content_hash, model, metadata, importance, persona_id, tags, session_id,
        occurred_at, tier, visibility, expires_at, store_count, created_at, namespace, source, terms_version)
    SELECT n.id, n.number, n.collection, n.content, n.hash, n.model, n.metadata::jsonb, n.importance, n.persona_id,
           ARRAY(SELECT jsonb_array_elements_text(n.tags::jsonb)), n.session_id, n.occurred_at, n.tier::memory_tier,
           n.visibility::memory_visibility, n.expires_at, n.store_count, coalesce(n.created_at, now()), $18, $19,
           $20
    FROM unnest($1::uuid[], $2::bigint[], $3::integer[], $4::text[], $5::bytea[], $6::smallint[], $7::text[],
                $8::float8[], $9::text[], $10::text[], $11::text[], $12::timestamptz[], $13::text[], $14::text[],
                $15::timestamptz[], $16::integer[], $17::timestamptz[])
        n (id, number, collection, content, hash, model, metadata, importance, persona_id, tags, session_id,
           occurred_at, tier, visibility, expires_at, store_count, created_at)
    ORDER BY n.collection, n.hash, n.number
    ON CONFLICT (collection, content_hash) WHERE deleted_at IS NULL DO NOTHING
    RETURNING number
"""
_COUNT_MODELS: Final = "SELECT count(*) FROM memory_models"
_IS_MODEL: Final = "SELECT EXISTS (SELECT 1 FROM memory_models WHERE name = $1 AND precision = $2)"
_BEGIN: Final = """
    INSERT INTO memory_imports (id, namespace, owner, key, records, line, digest, stored, deduplicated, failed,
                                unnamed, faults)
    VALUES ($1, $2, $3, $4, 0, 0, $5, 0, 0, 0, 0, '[]')
    ON CONFLICT (namespace, owner, key) DO UPDATE SET updated_at = now()
    RETURNING id, records, line, digest, stored, deduplicated, failed, unnamed, faults
"""
_ADVANCE: Final = """
    UPDATE memory_imports SET records = $3, line = $4, digest = $5, stored = $6, deduplicated = $7, failed = $8,
        unnamed = $9, faults = CASE WHEN $10::jsonb = '[]' THEN faults ELSE faults || $10 END, updated_at = now()
    WHERE id = $1 AND records = $2
"""
# The lock that whoever builds a graph over a collection's vectors holds (settling.py): it is left alone meanwhile,
# since a graph over what has come so far would have to be built again.
_HOLD: Final = "SELECT pg_try_advisory_lock_shared(hashtext('tmws memory collection'), $1)"
_TAKE: Final = "SELECT pg_advisory_lock(hashtextextended($1, 11))"
_RELEASE: Final = "SELECT pg_advisory_unlock_all()"
# One whose caller has gone, or whose process was killed, is over by then.
WAIT_S: Final = 10.0
_FORGET: Final = "DELETE FROM memory_imports WHERE updated_at < now() - make_interval(days => $1)"
KEPT_DAYS: Final = 7

# A row of memory_vectors in PostgreSQL's binary COPY format; a halfvec is its dimension, a zero, its numbers.
_COPY_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END: Final = b"\xff\xff"
_VECTOR_ROW: Final = np.dtype(
    [("fields", ">i2"), ("s0", ">i4"), ("shelf", ">i4"), ("s1", ">i4"), ("collection", ">i4"), ("s2", ">i4"),
     ("number", ">i8"), ("s3", ">i4"), ("position", ">i2"), ("s4", ">i4"), ("model", ">i2"), ("s5", ">i4"),
     ("dimension", ">i2"), ("zero", ">i2"), ("embedding", ">f2", DIMENSION)]
)  # fmt: skip
_VECTOR_SIZES: Final = {"fields": 6, "s0": 4, "s1": 4, "s2": 8, "s3": 2, "s4": 2, "s5": 4 + 2 * DIMENSION}


class ImportInFlight(Conflict):
    """Another request is at work on this import."""

    retryable = True


@dataclass(frozen=True, slots=True)
class Loaded:
    """A memory on its way into the database; `model` is None when it has no vectors."""

    draft: Draft
    collection: int
    model: int | None
    words: bytes


@dataclass(slots=True)
class Progress:
    """How far an import is."""

    id: UUID
    records: int
    line: int
    digest: bytes
    stored: int
    deduplicated: int
    failed: int
    unnamed: int
    faults: list[ImportFault]

    @property
    def read(self) -> int:
        """How many memories were found, the faulty ones included."""
        return self.stored + self.deduplicated + self.failed


async def begin_import(database: Database, namespace: str, owner: str, key: str, digest: bytes) -> Progress:
    """Return how far the import is that goes by this key, begun when there is none."""
    row = await database.fetchrow(_BEGIN, new_id(), namespace, owner, key, digest)
    if row is None:
        raise RuntimeError("an upsert returns its row")
    values: dict[str, Any] = dict(row)
    values["faults"] = [_fault(line, errors) for line, errors in values["faults"]]
    return Progress(**values)


def _fault(line: int, errors: list[dict[str, str]]) -> ImportFault:
    return ImportFault(line=line, errors=[FieldProblem(**error) for error in errors])


async def advance_import(
    connection: Connection, progress: Progress, before: int, new_faults: Sequence[ImportFault]
) -> None:
    """Keep how far the import is, in the transaction that stores what was read since.

    Raises:
        ImportInFlight: somebody else has gone on with it.
    """
    p = progress
    kept: list[Any] = [[fault.line, [error.model_dump() for error in fault.errors]] for fault in new_faults]
    changed = await connection.execute(
        _ADVANCE, p.id, before, p.records, p.line, p.digest, p.stored, p.deduplicated, p.failed, p.unnamed, kept
    )
    if not changed:
        raise ImportInFlight("Wait for it to end; what it has stored is kept.")


class Holds:
    """Keeps graphs from being built over collections while much comes into them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._held: set[int] = set()

    async def hold(self, collections: Iterable[int]) -> None:
        """Hold these collections, too; one whose graph is being built now, the next time."""
        for collection in set(collections) - self._held:
            if await self._connection.fetchval(_HOLD, collection):
                self._held.add(collection)


@asynccontextmanager
async def only_one(database: Database, name: str) -> AsyncGenerator[Holds]:
    """Be the only one at an import while the block runs, and no longer than the process; yields its holds.

    Raises:
        ImportInFlight: somebody else still is.
    """
    async with database.connection() as connection:
        try:
            await connection.raw.fetchval(_TAKE, name, timeout=WAIT_S)
        except TimeoutError:
            raise ImportInFlight("Wait for it to end; what it has stored is kept.") from None
        try:
            yield Holds(connection)
        finally:
            with suppress(Unavailable), unavailable_when_lost():
                await connection.fetchval(_RELEASE)


async def forget_old_imports(database: Database) -> int:
    """Delete what is known of imports that nobody has gone on with for a week; return how many."""
    return await database.execute(_FORGET, KEPT_DAYS)


async def find_known(database: Database, contents: Sequence[tuple[int, bytes]]) -> set[int]:
    """Return the places (from 0) of those contents, as collection and hash, that are remembered already."""
    rows = await database.fetch(_KNOWN, [collection for collection, _ in contents], [digest for _, digest in contents])
    return {row["place"] - 1 for row in rows}


async def may_name_model(database: Database, name: str, precision: str, most: int) -> bool:
    """Whether vectors of a model may come in: it is known, or there are not too many others."""
    if await database.fetchval(_IS_MODEL, name, precision):
        return True
    return await database.fetchval(_COUNT_MODELS) < most


async def load(connection: Connection, namespace: str, source: str, memories: Sequence[Loaded]) -> list[Loaded]:
    """Store the memories whose content is not known, in order, and return those."""
    numbers = [row["number"] for row in await connection.fetch(_NUMBERS, len(memories))]
    rows = await connection.fetch(_INSERT, *_columns(memories, numbers), namespace, source, TERMS_VERSION)
    inserted = {row["number"] for row in rows}
    stored = [(memory, number) for memory, number in zip(memories, numbers, strict=True) if number in inserted]
    await _copy_words(connection, stored)
    vectors = pack_vectors(stored)
    if vectors:
        await connection.raw.copy_to_table(
            "memory_vectors",
            source=io.BytesIO(vectors),
            columns=["shelf", "collection", "number", "position", "model", "embedding"],
            format="binary",
        )
    return [memory for memory, _ in stored]


def _columns(memories: Sequence[Loaded], numbers: Sequence[int]) -> list[list[Any]]:
    rows = [
        (
            new_id(), number, each.collection, m.content, each.draft.digest, each.model, _json(m.metadata),
            m.importance, each.draft.persona_id, _json(list(dict.fromkeys(m.tags))), m.session_id, m.occurred_at,
            tier_of(each.draft).value, m.visibility.value, each.draft.expires_at, m.store_count, m.created_at,
        )
        for each, number in zip(memories, numbers, strict=True)
        for m in [each.draft.memory]
    ]  # fmt: skip
    return [list(column) for column in zip(*rows, strict=True)]


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


async def _copy_words(connection: Connection, stored: Sequence[tuple[Loaded, int]]) -> None:
    words = [(number, memory.collection, memory.words) for memory, number in stored]
    await connection.raw.copy_records_to_table("memory_words", records=words, columns=["number", "collection", "words"])
    await connection.raw.copy_records_to_table(
        "memory_fresh", records=[row[:2] for row in words], columns=["number", "collection"]
    )


def pack_vectors(stored: Sequence[tuple[Loaded, int]]) -> bytes:
    """Return the vectors of memories as rows for a binary COPY; empty when there are none."""
    having = [(memory, number, memory.draft.vectors) for memory, number in stored if memory.model is not None]
    arrays: list[NDArray[np.floating]] = [vectors for _, _, vectors in having if vectors is not None]
    if not arrays:
        return b""
    parts = [len(vectors) for vectors in arrays]
    rows = np.zeros(sum(parts), _VECTOR_ROW)
    for name, size in _VECTOR_SIZES.items():
        rows[name] = size
    rows["dimension"] = DIMENSION
    rows["collection"] = np.repeat([memory.collection for memory, _, _ in having], parts)
    rows["number"] = np.repeat([number for _, number, _ in having], parts)
    rows["model"] = np.repeat([memory.model or 0 for memory, _, _ in having], parts)
    rows["position"] = np.concatenate([np.arange(count) for count in parts])
    rows["embedding"] = np.concatenate(arrays)
    return _COPY_HEAD + rows.tobytes() + _COPY_END
