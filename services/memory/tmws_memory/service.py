"""What can be done with memories."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from tmws_contracts.common import Page
from tmws_contracts.memory import (
    FoundMemory,
    Memory,
    MemorySearch,
    MemoryStats,
    NewMemory,
    SearchMode,
    SearchResults,
    Signals,
    StoredMemory,
    Tier,
    Visibility,
)
from tmws_memory.accesses import AccessLog
from tmws_memory.candidates import Question, find_candidates
from tmws_memory.embedding_client import EmbeddingClient, Vectors
from tmws_memory.errors import EmbeddingDown, ForeignPersona, MemoryNotFound
from tmws_memory.parts import heading_of, split_content
from tmws_memory.ranking import Ranked, Weights, rank
from tmws_memory.repository import Attributes, Content, Index, MemoryRepository, Recall
from tmws_memory.settings import MemorySettings
from tmws_memory.terms import count_terms, query_terms, term_key, unspaced_share
from tmws_memory.visibility import Reader
from tmws_shared.auth import Principal
from tmws_shared.clock import new_id, now
from tmws_shared.database import Connection, Database
from tmws_shared.idempotency import Attempt, Reply, do_once
from tmws_shared.pagination import Cursors
from tmws_shared.replies import match_version, reply

IMPERSONATE = "persona:impersonate"
POOL_MIN = 30
STORE_ATTEMPTS = 3
# Above this many characters the words are counted in a thread, so that other requests go on.
LONG_CONTENT = 4096


class _Vanished(Exception):
    """The known content was deleted between looking and counting."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """A memory to be stored, before it is known whether it is new."""

    content: Content
    attributes: Attributes
    heading: str


class MemoryService:
    """The memories of all namespaces; a caller sees only those it may."""

    def __init__(
        self,
        database: Database,
        embedding: EmbeddingClient,
        accesses: AccessLog,
        cursors: Cursors,
        settings: MemorySettings,
    ) -> None:
        self._database = database
        self._embedding = embedding
        self._accesses = accesses
        self._cursors = cursors
        self._settings = settings

    async def store(self, caller: Principal, memory: NewMemory, attempt: Attempt) -> Reply:
        """Remember a content, or count that it was stored again.

        Raises:
            ForeignPersona: it would be private to another persona.
            EmbeddingDown: it is new and cannot be embedded now; nothing is kept.
        """
        reader, draft = reader_for(caller), self._draft(caller, memory)
        async with self._database.connection() as connection:
            is_known = await MemoryRepository(connection, reader).knows(draft.content)
        for _ in range(STORE_ATTEMPTS):
            index = None if is_known else await self._index(caller, draft)
            try:
                return await do_once(self._database, attempt, lambda c, i=index: _write(c, reader, draft, i))
            except _Vanished:
                is_known = False
        raise EmbeddingDown("The content is deleted as fast as it is stored.")

    async def search(self, caller: Principal, wanted: MemorySearch) -> SearchResults:
        """Return the memories that answer best.

        Raises:
            EmbeddingDown: only vectors can answer (mode semantic, or a threshold), and they cannot be had now.
        """
        vectors = await self._query_vector(caller, wanted)
        reader = reader_for(caller)
        question = _question(reader, wanted, vectors)
        async with self._database.connection() as connection:
            candidates = await find_candidates(connection, reader, question)
            ranked = rank(candidates, self._weights(wanted, vectors), now())
            best = [item for item in ranked if _passes(item, wanted.threshold)][: wanted.limit]
            found = await MemoryRepository(connection, reader).fetch([item.id for item in best]) if best else {}
        self._accesses.note(found)
        return SearchResults(
            results=[_found(found[item.id], item) for item in best if item.id in found],
            mode=wanted.mode,
            degraded=["semantic"] if vectors is None and wanted.mode is not SearchMode.KEYWORD else [],
        )

    async def get(self, caller: Principal, memory_id: UUID) -> Memory:
        """Return a memory.

        Raises:
            MemoryNotFound: there is none that the caller may see.
        """
        async with self._database.connection() as connection:
            memory = await MemoryRepository(connection, reader_for(caller)).get(memory_id)
        if memory is None:
            raise MemoryNotFound
        return memory

    async def recall(self, caller: Principal, wanted: Recall, cursor: str | None, limit: int) -> Page[Memory]:
        """Return a page of memories by criteria.

        Raises:
            MalformedRequest: the cursor belongs to another list.
        """
        reader = reader_for(caller)
        context = {"list": "memories", "reader": reader, "filters": wanted.filters.model_dump(), "order": wanted.order}
        after = self._cursors.decode(cursor, **context)
        async with self._database.connection() as connection:
            found = await MemoryRepository(connection, reader).list_page(wanted, after, limit + 1)
        more = len(found) > limit
        next_cursor = self._cursors.encode(found[limit - 1][1], **context) if more else None
        return Page(items=[memory for memory, _ in found[:limit]], next_cursor=next_cursor)

    async def delete(self, caller: Principal, memory_id: UUID, if_match: str | None, *, purge: bool) -> None:
        """Hide a memory for the purge to take later, or erase it at once; a hidden one can still be erased.

        Raises:
            MemoryNotFound: there is none that the caller may see.
            PreconditionFailed: it is not the version that `if_match` names.
        """
        async with self._database.transaction() as connection:
            memories = MemoryRepository(connection, reader_for(caller))
            version = await memories.lock(memory_id, even_deleted=purge)
            if version is None:
                raise MemoryNotFound
            match_version(if_match, version)
            if purge:
                await memories.erase(memory_id, _location(memory_id))
            else:
                await memories.soft_delete(memory_id)

    async def stats(self, caller: Principal) -> MemoryStats:
        """Count the namespace's memories."""
        async with self._database.connection() as connection:
            row: Any = await MemoryRepository(connection, reader_for(caller)).stats()
        by_tier = {tier: row[tier.value] for tier in Tier}
        return MemoryStats(by_tier=by_tier, deleted=row["deleted"], long_contents=row["long_contents"])

    def _draft(self, caller: Principal, memory: NewMemory) -> _Draft:
        persona_id = memory.persona_id or caller.persona
        attributes = Attributes(
            importance=memory.importance,
            details=memory.metadata,
            persona_id=persona_id,
            tags=list(dict.fromkeys(memory.tags)),
            session_id=memory.session_id,
            occurred_at=memory.occurred_at,
            tier=memory.kept_as,
            visibility=memory.visibility,
            expires_at=None,
            source=caller.subject,
        )
        if memory.kept_as is Tier.SHORT_TERM:
            life_s = memory.ttl_seconds or self._settings.memory_short_term_hours * 3600
            attributes = replace(attributes, expires_at=now() + timedelta(seconds=life_s))
        digest = hashlib.sha256(memory.content.encode()).digest()
        content = Content(_owner(caller, memory.visibility, persona_id), memory.content, digest)
        return _Draft(content, attributes, heading_of(memory, persona_id))

    async def _index(self, caller: Principal, draft: _Draft) -> Index:
        text = draft.content.text
        vectors = await self._embedding.embed_contents(caller, split_content(text, draft.heading))
        words = f"{draft.heading}\n{text}"
        counts = count_terms(words) if len(words) < LONG_CONTENT else await asyncio.to_thread(count_terms, words)
        frequencies = {term_key(caller.namespace, term): count for term, count in counts.items()}
        return Index(vectors.values, vectors.model, vectors.precision, frequencies)

    async def _query_vector(self, caller: Principal, wanted: MemorySearch) -> Vectors | None:
        if wanted.mode is SearchMode.KEYWORD:
            return None
        try:
            return await self._embedding.embed_query(caller, wanted.query)
        except EmbeddingDown:
            if wanted.mode is SearchMode.SEMANTIC or wanted.threshold is not None:
                raise
            return None

    def _weights(self, wanted: MemorySearch, vectors: Vectors | None) -> Weights:
        s = self._settings
        unspaced = unspaced_share(wanted.query)
        hybrid = s.memory_semantic_weight * (1 - unspaced) + s.memory_unspaced_semantic_weight * unspaced
        alone = 1.0 if wanted.mode is SearchMode.SEMANTIC else 0.0
        return Weights(
            semantic=hybrid if wanted.mode is SearchMode.HYBRID and vectors else alone,
            neighbour=s.memory_neighbour_weight,
            importance=s.memory_importance_weight,
            recency=s.memory_recency_weight,
            half_life_days=s.memory_recency_half_life_days,
        )


def reader_for(caller: Principal) -> Reader:
    """Return whose memories the caller sees: the namespace's, its persona's, without a persona its own.

    Who has no persona and may impersonate sees those of every persona.
    """
    own = f"persona:{caller.persona}" if caller.persona else f"subject:{caller.subject}"
    return Reader(caller.namespace, ("", own), caller.persona is None and IMPERSONATE in caller.scopes)


def _owner(caller: Principal, visibility: Visibility, persona_id: str | None) -> str:
    """Return whose a memory is; empty for the whole namespace's."""
    if visibility is Visibility.NAMESPACE:
        return ""
    if persona_id is None:
        return f"subject:{caller.subject}"
    if caller.persona != persona_id and not reader_for(caller).is_any_persona:
        raise ForeignPersona
    return f"persona:{persona_id}"


def _location(memory_id: UUID) -> str:
    return f"/api/v1/memory/{memory_id}"


async def _write(connection: Connection, reader: Reader, draft: _Draft, index: Index | None) -> Reply:
    memories = MemoryRepository(connection, reader)
    if index is not None:
        memory = await memories.insert(new_id(), draft.content, draft.attributes, index)
        if memory is not None:
            return _stored(memory, 201, is_known=False)
    memory = await memories.repeat(draft.content, draft.attributes)
    if memory is None:
        raise _Vanished
    return _stored(memory, 200, is_known=True)


def _stored(memory: Memory, status: int, *, is_known: bool) -> Reply:
    answer = StoredMemory.model_construct(**dict(memory), deduplicated=is_known)
    return reply(answer, status, location=_location(memory.id))


def _question(reader: Reader, wanted: MemorySearch, vectors: Vectors | None) -> Question:
    words = () if wanted.mode is SearchMode.SEMANTIC else query_terms(wanted.query)
    return Question(
        vector=vectors.values[0] if vectors else None,
        model=vectors.model if vectors else "",
        precision=vectors.precision if vectors else "",
        terms=[term_key(reader.namespace, word) for word in words],
        filters=wanted.filters,
        pool=max(POOL_MIN, 2 * wanted.limit),
    )


def _passes(item: Ranked, threshold: float | None) -> bool:
    return threshold is None or (item.similarity is not None and item.similarity >= threshold)


def _found(memory: Memory, item: Ranked) -> FoundMemory:
    signals = {name: round(share, 6) for name, share in item.signals.items()}
    return FoundMemory.model_construct(
        **dict(memory),
        score=round(item.score, 6),
        similarity=None if item.similarity is None else round(item.similarity, 6),
        signals=Signals.model_validate(signals),
    )
