"""Vectors from the embedding service."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tmws_contracts.embedding import ServedModels
from tmws_memory.models import DIMENSION
from tmws_shared.auth import Principal
from tmws_shared.embedding import BATCH, EmbeddingDown, ModelName, RawVectors, fetch_vectors
from tmws_shared.http import ServiceClient, UpstreamProblem
from tmws_shared.problems import Unavailable

# A search without meaning now is worth more than one with meaning later.
QUERY_TIMEOUT_S = 2.0
CONTENT_TIMEOUT_S = 20.0
# How pgvector begins a halfvec on the wire: its dimension, and a number that it keeps for later.
_HALFVEC: Final = struct.pack(">HH", DIMENSION, 0)


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors of one model and precision, L2-normalised, each a halfvec [384] as it goes to the database."""

    model: str
    precision: str
    values: list[bytes]


class EmbeddingClient:
    """Asks for the vectors of texts."""

    def __init__(self, service: ServiceClient) -> None:
        self._service = service

    async def close(self) -> None:
        """Close the connections."""
        await self._service.close()

    async def embed_query(self, caller: Principal, text: str, model: ModelName | None = None) -> Vectors:
        """Return the one vector of a query, by the current model or another one that is served.

        Raises:
            EmbeddingDown: it cannot be had now.
        """
        return await self._embed(caller, [text], QUERY_TIMEOUT_S, is_cached=True, model=model)

    async def served(self, caller: Principal) -> set[ModelName]:
        """Return the models that can be asked for.

        Raises:
            EmbeddingDown: the service does not answer now.
        """
        try:
            answer = await self._service.call("GET", "/models", caller, timeout_s=QUERY_TIMEOUT_S)
        except (Unavailable, UpstreamProblem) as error:
            raise EmbeddingDown("The embedding service is not available.") from error
        return {ModelName(one.model, one.precision) for one in ServedModels.model_validate_json(answer.content).models}

    async def embed_contents(self, caller: Principal, texts: Sequence[str]) -> Vectors:
        """Return the vectors of what is to be remembered; no cache keeps them, so that a purge leaves nothing.

        Raises:
            EmbeddingDown: they cannot be had now.
        """
        vectors = await self._embed(caller, texts[:BATCH], CONTENT_TIMEOUT_S, is_cached=False)
        for start in range(BATCH, len(texts), BATCH):
            more = await self._embed(caller, texts[start : start + BATCH], CONTENT_TIMEOUT_S, is_cached=False)
            if (more.model, more.precision) != (vectors.model, vectors.precision):
                raise EmbeddingDown("The embedding model is being changed.")
            vectors.values.extend(more.values)
        return vectors

    async def _embed(
        self,
        caller: Principal,
        texts: Sequence[str],
        timeout_s: float,
        *,
        is_cached: bool,
        model: ModelName | None = None,
    ) -> Vectors:
        found = await fetch_vectors(self._service, caller, texts, timeout_s, model=model, is_cached=is_cached)
        return _vectors(found)


def _vectors(found: RawVectors) -> Vectors:
    if found.dimension != DIMENSION:
        raise EmbeddingDown(f"The embedding service does not answer with vectors of {DIMENSION} numbers.")
    rows = np.frombuffer(found.content, "<f4").reshape(-1, DIMENSION).astype(">f2")
    return Vectors(*found.model, [_HALFVEC + row.tobytes() for row in rows])
