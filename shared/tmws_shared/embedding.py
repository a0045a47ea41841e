"""The embedding service, as those see it who have texts turned into vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from tmws_contracts.embedding import DIMENSION_HEADER, MODEL_HEADER, PRECISION_HEADER, RAW_VECTORS
from tmws_shared.auth import Principal
from tmws_shared.http import ServiceClient, UpstreamProblem
from tmws_shared.problems import Unavailable

BATCH: Final = 64
_FLOAT_BYTES: Final = 4


class EmbeddingDown(Unavailable):
    """The meaning of the text cannot be computed now."""


class ModelName(NamedTuple):
    """A model and the arithmetic it is run in."""

    name: str
    precision: str


@dataclass(frozen=True, slots=True)
class RawVectors:
    """Vectors of one model, in the order of the texts: float32 [n, dimension], little-endian, L2-normalised."""

    model: ModelName
    dimension: int
    content: bytes


async def fetch_vectors(
    service: ServiceClient,
    caller: Principal,
    texts: Sequence[str],
    timeout_s: float,
    *,
    model: ModelName | None = None,
    is_cached: bool = True,
) -> RawVectors:
    """Return the vectors of up to BATCH texts, by the current model unless one is named.

    Raises:
        EmbeddingDown: they cannot be had now.
    """
    named = {"model": model.name, "precision": model.precision} if model else {}
    body = {"texts": list(texts), "cache": is_cached, **named}
    try:
        answer = await service.call(
            "POST", "/embed", caller, json=body, headers={"accept": RAW_VECTORS}, timeout_s=timeout_s
        )
    except (Unavailable, UpstreamProblem) as error:
        raise EmbeddingDown("The embedding service is not available.") from error
    dimension = int(answer.headers[DIMENSION_HEADER])
    if len(answer.content) != len(texts) * dimension * _FLOAT_BYTES:
        raise EmbeddingDown("The embedding service does not answer with a vector for each text.")
    used = ModelName(answer.headers[MODEL_HEADER], answer.headers[PRECISION_HEADER])
    return RawVectors(used, dimension, answer.content)
