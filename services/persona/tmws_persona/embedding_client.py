"""Vectors from the embedding service."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Final

from tmws_shared.auth import Principal
from tmws_shared.embedding import ModelName, RawVectors, fetch_vectors
from tmws_shared.http import ServiceClient

# A match without meaning now is worth more than one with meaning later.
TIMEOUT_S: Final = 2.0
_FLOAT_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors of one model, in the order of the texts: float32, little-endian, L2-normalised."""

    model: ModelName
    values: list[bytes]


class EmbeddingClient:
    """Asks for the vectors of texts."""

    def __init__(self, service: ServiceClient) -> None:
        self._service = service

    async def embed(self, caller: Principal, texts: Sequence[str], model: ModelName | None = None) -> Vectors:
        """Return the vectors of up to BATCH texts, by the current model unless one is named.

        Raises:
            EmbeddingDown: they cannot be had now.
        """
        found = await fetch_vectors(self._service, caller, texts, TIMEOUT_S, model=model)
        return Vectors(found.model, _split(found, len(texts)))


def similarity(first: bytes, second: bytes) -> float:
    """Return the cosine of two vectors; 0 when they are not of the same length."""
    if len(first) != len(second):
        return 0.0
    return sum(map(mul, array("f", first), array("f", second)))


def _split(found: RawVectors, count: int) -> list[bytes]:
    size = found.dimension * _FLOAT_BYTES
    return [found.content[start : start + size] for start in range(0, count * size, size)]
