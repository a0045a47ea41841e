"""`POST /embed` and `GET /stats`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Header, Request, Response
from starlette.background import BackgroundTask

from tmws_contracts.embedding import (
    DIMENSION_HEADER,
    MODEL_HEADER,
    PRECISION_HEADER,
    RAW_VECTORS,
    EmbeddingRequest,
    Embeddings,
    EmbeddingStats,
)
from tmws_embedding.model import Vectors
from tmws_embedding.service import EmbeddingService
from tmws_shared.replies import send_model

CLIENT_CLOSED_REQUEST = 499
router = APIRouter(tags=["embedding"])


async def _service(request: Request) -> EmbeddingService:
    return request.app.state.service


Service = Annotated[EmbeddingService, Depends(_service)]


@router.post("/embed", responses={200: {"model": Embeddings, "content": {RAW_VECTORS: {}}}})
async def embed(
    body: EmbeddingRequest, request: Request, service: Service, accept: Annotated[str, Header()] = "*/*"
) -> Response:
    """Return a vector for each text; with `Accept: application/octet-stream` as raw float32, little-endian."""
    work = asyncio.ensure_future(service.embed(body.texts, use_cache=body.cache))
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        # Nobody reads this answer; what matters is that the work is dropped.
        if not work.done():
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        known = work.result()
        answer = _answer(service, known.vectors, is_raw=RAW_VECTORS in accept)
        answer.background = BackgroundTask(service.remember, known.computed)
        return answer
    finally:
        work.cancel()
        gone.cancel()
        await asyncio.wait({work, gone})


@router.get("/stats", response_model=EmbeddingStats)
async def stats(service: Service) -> Response:
    """Return what the service has done since it started."""
    return send_model(service.stats())


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _answer(service: EmbeddingService, vectors: Vectors, *, is_raw: bool) -> Response:
    if is_raw:
        headers = {
            MODEL_HEADER: service.model,
            PRECISION_HEADER: service.precision,
            DIMENSION_HEADER: str(service.dimension),
        }
        return Response(vectors.astype("<f4", copy=False).tobytes(), headers=headers, media_type=RAW_VECTORS)
    document = {
        "model": service.model,
        "precision": service.precision,
        "dimension": service.dimension,
        "vectors": vectors,
    }
    return Response(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
