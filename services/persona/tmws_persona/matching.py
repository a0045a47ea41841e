"""Finding the persona that fits a piece of work."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from tmws_contracts.persona_match import PersonaMatches, PersonaSearch
from tmws_persona.embedding_client import EmbeddingClient, similarity
from tmws_persona.ranking import Candidate, rank
from tmws_persona.repository import PersonaRepository, StoredVector
from tmws_persona.service import PersonaService
from tmws_shared.auth import Principal
from tmws_shared.database import Database
from tmws_shared.embedding import BATCH, EmbeddingDown, ModelName

# Vectors made in one request at most; a namespace that has more new personas has them after a few.
MAX_FRESH: Final = 4 * BATCH
# The model reads the beginning of a text, and the service takes no more than 64 KiB.
MAX_TEXT_CHARS: Final = 4_000


class Matcher:
    """Compares a piece of work with the personas of the caller's namespace."""

    def __init__(self, database: Database, personas: PersonaService, embedding: EmbeddingClient) -> None:
        self._database = database
        self._personas = personas
        self._embedding = embedding

    async def match(self, caller: Principal, search: PersonaSearch) -> PersonaMatches:
        """Return the personas that fit best; by words alone while there are no vectors."""
        await self._personas.seed(caller.namespace)
        if search.text is None:
            return PersonaMatches(items=rank(search, await self._all(caller), has_vectors=False), degraded=[])
        try:
            candidates = await self._compared(caller, search.text)
        except EmbeddingDown:
            return PersonaMatches(items=rank(search, await self._all(caller), has_vectors=False), degraded=["semantic"])
        return PersonaMatches(items=rank(search, candidates, has_vectors=True), degraded=[])

    async def _all(self, caller: Principal) -> list[Candidate]:
        async with self._database.connection() as connection:
            return await PersonaRepository(connection, caller.namespace).candidates()

    async def _compared(self, caller: Principal, text: str) -> list[Candidate]:
        """The personas with their similarity to a text; who has no vector of its present text is given one."""
        asked = await self._embedding.embed(caller, [text[:MAX_TEXT_CHARS]])
        candidates = await self._all(caller)
        async with self._database.connection() as connection:
            stored = await PersonaRepository(connection, caller.namespace).vectors(*asked.model)
        digests = {one.id: _digest(one) for one in candidates}
        vectors = {one.persona_id: one.embedding for one in stored if digests.get(one.persona_id) == one.digest}
        stale = [one for one in candidates if one.id not in vectors][:MAX_FRESH]
        for start in range(0, len(stale), BATCH):
            vectors |= await self._embed(caller, stale[start : start + BATCH], asked.model)
        return [
            replace(one, similarity=similarity(asked.values[0], vectors[one.id]) if one.id in vectors else None)
            for one in candidates
        ]

    async def _embed(self, caller: Principal, stale: Sequence[Candidate], model: ModelName) -> dict[str, bytes]:
        """Make vectors by the model, keep them, and return them by the persona's id."""
        made = await self._embedding.embed(caller, [one.text[:MAX_TEXT_CHARS] for one in stale], model)
        vectors = [
            StoredVector(one.id, _digest(one), embedding) for one, embedding in zip(stale, made.values, strict=True)
        ]
        async with self._database.connection() as connection:
            await PersonaRepository(connection, caller.namespace).keep_vectors(*model, vectors)
        return {vector.persona_id: vector.embedding for vector in vectors}


def _digest(candidate: Candidate) -> bytes:
    return hashlib.sha256(candidate.text.encode()).digest()
