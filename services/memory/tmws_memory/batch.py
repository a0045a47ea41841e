"""SQL that stores many memories in one statement."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from tmws_memory.drafts import Draft
from tmws_memory.indexing import TERMS_VERSION, Index
from tmws_shared.database import Connection

_COLUMNS: Final = """id, collection, content, content_hash, model, metadata, importance, persona_id, tags, session_id,
    occurred_at, tier, visibility, expires_at, source"""
# Two transactions that store the same contents wait for each other in the same order, and so never in a circle.
_INSERT: Final = f"""
    WITH given AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset($1::jsonb) AS g (
            place integer, id uuid, collection integer, content text, content_hash bytea, model smallint,
            metadata jsonb, importance double precision, persona_id text, tags text[], session_id text,
            occurred_at timestamptz, tier memory_tier, visibility memory_visibility, expires_at timestamptz,
            source text)
    ), m AS (
        INSERT INTO memories ({_COLUMNS}, namespace, terms_version)
        SELECT {_COLUMNS}, $2, $3 FROM given ORDER BY collection, content_hash
        ON CONFLICT (collection, content_hash) WHERE deleted_at IS NULL DO NOTHING
        RETURNING id, number, collection, model
    ), stored AS MATERIALIZED (
        SELECT m.number, m.collection, m.model, g.place FROM m JOIN given g ON g.id = m.id
    ), words AS (
        INSERT INTO memory_words (number, collection, words) SELECT number, collection, ($4::bytea[])[place] FROM stored
    ), fresh AS (
        INSERT INTO memory_fresh (number, collection) SELECT number, collection FROM stored
    ), vectors AS (
        INSERT INTO memory_vectors (shelf, collection, number, position, model, embedding)
        SELECT 0, s.collection, s.number, v.position, s.model, v.embedding
        FROM unnest($5::integer[], $6::smallint[], $7::halfvec[]) v (place, position, embedding)
        JOIN stored s ON s.place = v.place
    )
    SELECT id FROM m
"""  # noqa: S608 -- our own fragments
_KNOWN: Final = """
    SELECT m.collection, m.content_hash FROM unnest($1::integer[], $2::bytea[]) k (collection, content_hash)
    JOIN memories m USING (collection, content_hash) WHERE m.deleted_at IS NULL
"""

Key = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A memory to be stored under an id."""

    id: UUID
    draft: Draft
    index: Index


async def known(connection: Connection, keys: Collection[Key]) -> set[Key]:
    """Return those of the contents that are remembered already."""
    rows = await connection.fetch(_KNOWN, [key[0] for key in keys], [key[1] for key in keys])
    return {(row["collection"], row["content_hash"]) for row in rows}


async def insert_all(connection: Connection, namespace: str, newcomers: Sequence[Newcomer]) -> set[UUID]:
    """Store memories, all with different contents; return the ids of those whose content was not known yet."""
    if not newcomers:
        return set()
    places: list[int] = []
    positions: list[int] = []
    vectors: list[bytes] = []
    for place, newcomer in enumerate(newcomers, 1):
        for position, vector in enumerate(newcomer.index.embedded.vectors if newcomer.index.embedded else ()):
            places.append(place)
            positions.append(position)
            vectors.append(vector)
    rows = await connection.fetch(
        _INSERT, [_row(place, newcomer) for place, newcomer in enumerate(newcomers, 1)], namespace, TERMS_VERSION,
        [newcomer.index.words for newcomer in newcomers], places, positions, vectors,
    )  # fmt: skip
    return {row["id"] for row in rows}


def _row(place: int, newcomer: Newcomer) -> Mapping[str, Any]:
    state, embedded = newcomer.draft.state, newcomer.index.embedded
    return {
        "place": place,
        "id": newcomer.id,
        "collection": newcomer.draft.collection,
        "content": state.content,
        "content_hash": "\\x" + state.hash.hex(),
        "model": embedded and embedded.model,
        "metadata": state.metadata,
        "importance": state.importance,
        "persona_id": state.persona_id,
        "tags": state.tags,
        "session_id": state.session_id,
        "occurred_at": state.occurred_at,
        "tier": state.tier,
        "visibility": state.visibility,
        "expires_at": state.expires_at,
        "source": newcomer.draft.source,
    }
