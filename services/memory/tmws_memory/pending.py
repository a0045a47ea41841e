"""Embeds what has no vectors of the current model: stored while the embedding service was down, restored, imported
without vectors, or embedded before the model was changed. Until then words find it, and vectors of the earlier model
for as long as that one is served."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any, Final
from uuid import UUID

from tmws_memory.directory import Directory
from tmws_memory.embedding_client import EmbeddingClient
from tmws_memory.indexing import TERMS_VERSION, Embedded, add_words, forget, new_number, replace_vectors
from tmws_memory.parts import heading_of, split_content
from tmws_memory.query_vectors import REFRESH_S
from tmws_memory.terms import count_terms, term_key
from tmws_memory.words import pack_words
from tmws_shared.auth import Principal
from tmws_shared.database import Connection, Database, Row

AT_ONCE: Final = 16
WORDS_AT_ONCE: Final = 200
ASK_EVERY_S: Final = 30.0

_COLUMNS = "id, number, collection, namespace, content, metadata, persona_id, session_id, occurred_at"
_WITHOUT_VECTORS: Final = f"""
    SELECT {_COLUMNS} FROM memories WHERE deleted_at IS NULL AND model IS NULL ORDER BY number LIMIT {AT_ONCE}
"""  # noqa: S608 -- our own fragments
_OF_MODEL: Final = f"""
    SELECT {_COLUMNS} FROM memories WHERE deleted_at IS NULL AND model = $1 ORDER BY number LIMIT {AT_ONCE}
"""  # noqa: S608 -- our own fragments
_UNREAD: Final = f"""
    SELECT {_COLUMNS} FROM memories WHERE deleted_at IS NULL AND terms_version < $1
    ORDER BY terms_version, number LIMIT {WORDS_AT_ONCE} FOR UPDATE SKIP LOCKED
"""  # noqa: S608 -- our own fragments
_MODELS: Final = "SELECT id, name, precision FROM memory_models ORDER BY id"
# Whoever moves the vectors of a collection holds its row, too.
_LOCK: Final = "SELECT 1 FROM memory_collections WHERE id = $1 FOR NO KEY UPDATE"
_EMBEDDED: Final = """
    UPDATE memories SET model = $3 WHERE id = $1 AND number = $2 AND deleted_at IS NULL RETURNING collection
"""
_READ: Final = "UPDATE memories SET terms_version = $2 WHERE id = $1"
_HAS_WORDS: Final = "SELECT EXISTS (SELECT 1 FROM memory_words WHERE number = $1)"


@dataclass(frozen=True, slots=True)
class _Told:
    metadata: Mapping[str, Any]
    session_id: str | None
    occurred_at: datetime | None


class Backlog:
    """What has to be embedded, or read for its words, again."""

    def __init__(
        self, database: Database, directory: Directory, embedding: EmbeddingClient, *, notice_s: float = 2 * REFRESH_S
    ) -> None:
        self._database = database
        self._notice_s = notice_s
        self._seen_models: set[int] = set()
        self._directory = directory
        self._embedding = embedding
        self._ask_again = 0.0

    async def work_off(self) -> int:
        """Do all there is to do; return how many memories were embedded or read.

        Raises:
            EmbeddingDown: the embedding service cannot be reached now.
        """
        done = 0
        while read := await self._read_words():
            done += read
        while embedded := await self._embed(await self._database.fetch(_WITHOUT_VECTORS)):
            done += embedded
        return done + await self._replace_old_models()

    async def _replace_old_models(self) -> int:
        if monotonic() < self._ask_again:
            return 0
        done = 0
        # Any text will do: every answer says which model is the current one.
        current = await self._embedding.embed_query(Principal("tmws", "default", frozenset()), "model")
        newest = await self._directory.model(current.model, current.precision)
        if newest not in self._seen_models:
            # Searches must ask for its vectors, too, before the first memory has one.
            await asyncio.sleep(self._notice_s)
            self._seen_models.add(newest)
        for row in await self._database.fetch(_MODELS):
            while row["id"] != newest and (old := await self._database.fetch(_OF_MODEL, row["id"])):
                done += await self._embed(old)
        self._ask_again = monotonic() + ASK_EVERY_S
        return done

    async def _embed(self, rows: list[Row]) -> int:
        for row in rows:
            parts = split_content(row["content"], _heading(row))
            vectors = await self._embedding.embed_contents(Principal("tmws", row["namespace"], frozenset()), parts)
            model = await self._directory.model(vectors.model, vectors.precision)
            async with self._database.transaction() as connection:
                await _replace(connection, row["id"], row["number"], row["collection"], Embedded(model, vectors.values))
        return len(rows)

    async def _read_words(self) -> int:
        async with self._database.transaction() as connection:
            rows = await connection.fetch(_UNREAD, TERMS_VERSION)
            for row in rows:
                number: int = row["number"]
                if await connection.fetchval(_HAS_WORDS, number):
                    await forget(connection, [number])
                    await connection.execute("UPDATE memories SET model = NULL WHERE id = $1", row["id"])
                    number = await new_number(connection, row["id"])
                counts = count_terms(f"{_heading(row)}\n{row['content']}")
                words = pack_words({term_key(term): count for term, count in counts.items()})
                await add_words(connection, row["collection"], number, words)
                await connection.execute(_READ, row["id"], TERMS_VERSION)
        return len(rows)


def _heading(row: Row) -> str:
    return heading_of(_Told(row["metadata"], row["session_id"], row["occurred_at"]), row["persona_id"])


async def _replace(connection: Connection, memory_id: UUID, number: int, collection: int, embedded: Embedded) -> None:
    """Give a memory its vectors, unless it has been changed or deleted since it was read."""
    await connection.execute(_LOCK, collection)
    if await connection.fetchval(_EMBEDDED, memory_id, number, embedded.model) is not None:
        await replace_vectors(connection, collection, number, embedded)
