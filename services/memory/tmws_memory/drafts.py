"""Memories to be stored, before it is known whether they are new: whose they are, and what will find them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic

from tmws_contracts.memory import NewMemory
from tmws_memory.directory import Directory
from tmws_memory.embedding_client import EmbeddingClient, Vectors
from tmws_memory.indexing import Embedded, Index
from tmws_memory.parts import split_content
from tmws_memory.settings import MemorySettings
from tmws_memory.state import Passage, State, state_of
from tmws_memory.terms import count_terms, term_key
from tmws_memory.visibility import check_persona, owner_of
from tmws_shared.auth import Principal
from tmws_shared.clock import now
from tmws_shared.embedding import BATCH, EmbeddingDown

# Above this many characters the words are counted in a thread, so that other requests go on.
LONG_CONTENT = 4096
BATCHES_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Draft:
    """A memory to be stored in a collection, by `source`."""

    collection: int
    state: State
    source: str

    @property
    def key(self) -> tuple[int, bytes]:
        """What makes two drafts the same."""
        return self.collection, self.state.hash


class Drafts:
    """Makes drafts, and indexes texts."""

    def __init__(self, directory: Directory, embedding: EmbeddingClient, settings: MemorySettings) -> None:
        self._directory = directory
        self._embedding = embedding
        self.short_life = timedelta(hours=settings.memory_short_term_hours)

    async def draft(self, caller: Principal, memory: NewMemory) -> Draft:
        """Return what would be stored.

        Raises:
            ForeignPersona: it would be another persona's.
        """
        persona_id = memory.persona_id or caller.persona
        check_persona(caller, persona_id)
        collection = await self.collection(caller, owner_of(caller, memory.visibility, persona_id))
        return Draft(collection, state_of(memory, persona_id, now(), self.short_life), caller.subject)

    async def collection(self, caller: Principal, owner: str) -> int:
        """Return the number of a collection of the caller's namespace."""
        return await self._directory.collection(caller.namespace, owner)

    async def index(self, caller: Principal, passage: Passage) -> Index:
        """Return what finds a passage; without vectors when they cannot be had now."""
        words = asyncio.ensure_future(_count([passage]))
        embedded = await self._embed(caller, passage)
        return Index((await words)[0], embedded)

    async def index_many(self, caller: Principal, passages: Sequence[Passage], until: float) -> list[Index]:
        """Return what finds each passage; without vectors where they cannot be had until a `monotonic` moment."""
        words = asyncio.ensure_future(_count(passages))
        try:
            embedded = await _Bulk(self._embedding, caller, until).embed(passages)
            models = {(v.model, v.precision) for v in embedded if v}
            numbers = {model: await self._directory.model(*model) for model in sorted(models)}
            frequencies = await words
        finally:
            words.cancel()
        return [
            Index(counts, Embedded(numbers[v.model, v.precision], v.values) if v else None)
            for counts, v in zip(frequencies, embedded, strict=True)
        ]

    async def _embed(self, caller: Principal, passage: Passage) -> Embedded | None:
        try:
            vectors = await self._embedding.embed_contents(caller, split_content(passage.content, passage.heading))
        except EmbeddingDown:
            return None
        return Embedded(await self._directory.model(vectors.model, vectors.precision), vectors.values)


class _Bulk:
    """Embeds many passages, some batches at a time; what is not done in time is left to the worker."""

    def __init__(self, embedding: EmbeddingClient, caller: Principal, until: float) -> None:
        self._embedding = embedding
        self._caller = caller
        self._until = until
        self._gate = asyncio.Semaphore(BATCHES_AT_ONCE)
        self._is_down = False

    async def embed(self, passages: Sequence[Passage]) -> list[Vectors | None]:
        """Return the vectors of each passage's parts, None where there are none now."""
        parts = [split_content(passage.content, passage.heading) for passage in passages]
        texts = [part for several in parts for part in several]
        batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
        embedded = await asyncio.gather(*(self._embed(batch) for batch in batches))
        singly = [
            single for batch, vectors in zip(batches, embedded, strict=True) for single in _singly(batch, vectors)
        ]
        found: list[Vectors | None] = []
        begin = 0
        for several in parts:
            found.append(_joined(singly[begin : begin + len(several)]))
            begin += len(several)
        return found

    async def _embed(self, texts: Sequence[str]) -> Vectors | None:
        async with self._gate:
            if self._is_down:
                return None
            try:
                async with asyncio.timeout(max(0.0, self._until - monotonic())):
                    return await self._embedding.embed_contents(self._caller, texts)
            except (EmbeddingDown, TimeoutError):
                self._is_down = True
                return None


def _singly(texts: Sequence[str], vectors: Vectors | None) -> list[Vectors | None]:
    if vectors is None:
        return [None] * len(texts)
    return [Vectors(vectors.model, vectors.precision, [value]) for value in vectors.values]


def _joined(parts: Sequence[Vectors | None]) -> Vectors | None:
    """The vectors of one passage; None when one is missing, or the model was changed between them."""
    whole = [part for part in parts if part is not None]
    if len(whole) < len(parts) or len({(part.model, part.precision) for part in whole}) != 1:
        return None
    return Vectors(whole[0].model, whole[0].precision, [value for part in whole for value in part.values])


async def _count(passages: Sequence[Passage]) -> list[dict[int, int]]:
    size = sum(passage.size for passage in passages)
    return _count_all(passages) if size < LONG_CONTENT else await asyncio.to_thread(_count_all, passages)


def _count_all(passages: Sequence[Passage]) -> list[dict[int, int]]:
    return [{term_key(term): n for term, n in count_terms(passage.words).items()} for passage in passages]
