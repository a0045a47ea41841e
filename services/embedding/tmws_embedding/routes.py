"""`POST /embed`, `GET /models` and `GET /stats`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import orjson
from fastapi import Depends, Header, Request, Response
from starlette.background import BackgroundTask

from tmws_contracts.embedding import (
    DIMENSION_HEADER,
    MODEL_HEADER,
    PRECISION_HEADER,
    RAW_VECTORS,
    EmbeddingRequest,
    Embeddings,
    EmbeddingStats,
    ServedModels,
)
from tmws_embedding.batcher import Lane, lane_of
from tmws_embedding.service import EmbeddingService, Known
from tmws_shared.replies import send_model
from tmws_shared.routing import StrictRouter

CLIENT_CLOSED_REQUEST = 499
router = StrictRouter(tags=["embedding"])


async def _service(request: Request) -> EmbeddingService:
    return request.app.state.service


Service = Annotated[EmbeddingService, Depends(_service)]


@router.post("/embed", responses={200: {"model": Embeddings, "content": {RAW_VECTORS: {}}}})
async def embed(
    body: EmbeddingRequest, request: Request, service: Service, accept: Annotated[str, Header()] = "*/*"
) -> Response:
    """Return a vector for each text; with `Accept: application/octet-stream` as raw float32, little-endian."""
    # A few texts are done before it pays to look whether somebody still waits for them.
    is_short = lane_of(body.texts) is Lane.INTERACTIVE
    known = await (_embed(service, body) if is_short else _embed_while_connected(service, body, request))
    if known is None:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    answer = _answer(known, is_raw=RAW_VECTORS in accept)
    answer.background = BackgroundTask(service.remember, known)
    return answer


@router.get("/models", response_model=ServedModels)
async def models(service: Service) -> Response:
    """Return the models that `POST /embed` can use, the current one first."""
    return send_model(service.models())


@router.get("/stats", response_model=EmbeddingStats)
async def stats(service: Service) -> Response:
    """Return what the service has done since it started."""
    return send_model(service.stats())


async def _embed(service: EmbeddingService, body: EmbeddingRequest) -> Known:
    return await service.embed(body.texts, model=body.model, precision=body.precision, use_cache=body.cache)


async def _embed_while_connected(service: EmbeddingService, body: EmbeddingRequest, request: Request) -> Known | None:
    work = asyncio.ensure_future(_embed(service, body))
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        # Nobody reads this answer; what matters is that the work is dropped.
        return work.result() if work.done() else None
    finally:
        work.cancel()
        gone.cancel()
        await asyncio.wait({work, gone})


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _answer(known: Known, *, is_raw: bool) -> Response:
    artifact, vectors = known.artifact, known.vectors
    if is_raw:
        headers = {
            MODEL_HEADER: artifact.name,
            PRECISION_HEADER: artifact.precision,
            DIMENSION_HEADER: str(vectors.shape[1]),
        }
        return Response(vectors.astype("<f4", copy=False).tobytes(), headers=headers, media_type=RAW_VECTORS)
    document = {
        "model": artifact.name,
        "precision": artifact.precision,
        "dimension": vectors.shape[1],
        "vectors": vectors,
    }
    return Response(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
