"""Vectors from the embedding service."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Final, NamedTuple

from tmws_contracts.embedding import DIMENSION_HEADER, MODEL_HEADER, PRECISION_HEADER, RAW_VECTORS
from tmws_persona.errors import EmbeddingDown
from tmws_shared.auth import Principal
from tmws_shared.http import Answer, ServiceClient, UpstreamProblem
from tmws_shared.problems import Unavailable

# A match without meaning now is worth more than one with meaning later.
TIMEOUT_S: Final = 2.0
BATCH: Final = 64
_FLOAT_BYTES: Final = 4


class ModelName(NamedTuple):
    """A model and the arithmetic it is run in."""

    name: str
    precision: str


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
        named = {"model": model.name, "precision": model.precision} if model else {}
        body = {"texts": list(texts), **named}
        try:
            answer = await self._service.call(
                "POST", "/embed", caller, json=body, headers={"accept": RAW_VECTORS}, timeout_s=TIMEOUT_S
            )
        except (Unavailable, UpstreamProblem) as error:
            raise EmbeddingDown("The embedding service is not available.") from error
        return Vectors(_model(answer), _split(answer, len(texts)))


def similarity(first: bytes, second: bytes) -> float:
    """Return the cosine of two vectors; 0 when they are not of the same length."""
    if len(first) != len(second):
        return 0.0
    return sum(map(mul, array("f", first), array("f", second)))


def _model(answer: Answer) -> ModelName:
    return ModelName(answer.headers[MODEL_HEADER], answer.headers[PRECISION_HEADER])


def _split(answer: Answer, count: int) -> list[bytes]:
    size = int(answer.headers[DIMENSION_HEADER]) * _FLOAT_BYTES
    if len(answer.content) != count * size:
        raise EmbeddingDown("The embedding service does not answer with a vector for each text.")
    return [answer.content[start : start + size] for start in range(0, count * size, size)]
