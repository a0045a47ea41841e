"""The memory service's HTTP routes."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from tmws_contracts.common import Limit, Page, Slug, UtcTime
from tmws_contracts.memory import (
    Memory,
    MemorySearch,
    MemoryStats,
    NewMemory,
    SearchFilters,
    SearchResults,
    SessionId,
    StoredMemory,
    Tags,
    Tier,
)
from tmws_memory.repository import MemoryOrder, Recall
from tmws_memory.service import MemoryService
from tmws_shared.auth import NeedsScope, Principal
from tmws_shared.idempotency import Once
from tmws_shared.replies import IfMatch, send, send_model

router = APIRouter(prefix="/api/v1/memory", tags=["memory"])
stats_router = APIRouter(tags=["system"])

CanRead = Annotated[Principal, Depends(NeedsScope("memory:read"))]
CanWrite = Annotated[Principal, Depends(NeedsScope("memory:write"))]
CanDelete = Annotated[Principal, Depends(NeedsScope("memory:delete"))]


async def _service(request: Request) -> MemoryService:
    return request.app.state.memories


Memories = Annotated[MemoryService, Depends(_service)]


async def _recall(  # noqa: PLR0913 -- one parameter a filter
    tags: Annotated[Tags | None, Query(description="has all of these")] = None,
    persona_id: Slug | None = None,
    session_id: SessionId | None = None,
    tier: Tier | None = None,
    importance_min: Annotated[float | None, Query(ge=0, le=1)] = None,
    created_after: UtcTime | None = None,
    created_before: UtcTime | None = None,
    sort: MemoryOrder = MemoryOrder.NEWEST,
) -> Recall:
    filters = SearchFilters(
        tags=tags or [],
        metadata={},
        persona_id=persona_id,
        session_id=session_id,
        tier=tier,
        importance_min=importance_min,
        created_after=created_after,
        created_before=created_before,
    )
    return Recall(filters, sort)


@router.post("/store", response_model=StoredMemory, status_code=201)
async def store_memory(caller: CanWrite, memories: Memories, memory: NewMemory, once: Once) -> Response:
    """Remember a content. The same content again (200, `deduplicated`) is counted and never kept twice.

    A repetition raises importance, adds tags and prolongs life; the metadata stay those of the first time.
    """
    return send(await memories.store(caller, memory, once))


@router.post("/search", response_model=SearchResults)
async def search_memories(caller: CanRead, memories: Memories, search: MemorySearch) -> Response:
    """Find memories by meaning and words, best first. Without embeddings, words alone answer, and it says so."""
    return send_model(await memories.search(caller, search))


@router.get("/recall", response_model=Page[Memory])
async def recall_memories(
    caller: CanRead,
    memories: Memories,
    wanted: Annotated[Recall, Depends(_recall)],
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(max_length=1024)] = None,
) -> Response:
    """List memories by criteria, a page at a time."""
    return send_model(await memories.recall(caller, wanted, cursor, limit))


@router.get("/{memory_id}", response_model=Memory)
async def get_memory(caller: CanRead, memories: Memories, memory_id: UUID) -> Response:
    """Return a memory."""
    return send_model(await memories.get(caller, memory_id))


@router.delete("/{memory_id}", status_code=204)
async def delete_memory(
    caller: CanDelete,
    memories: Memories,
    memory_id: UUID,
    if_match: IfMatch,
    purge: Annotated[bool, Query(description="erase it at once, also a deleted one")] = False,
) -> Response:
    """Delete a memory; it is erased 30 days later."""
    await memories.delete(caller, memory_id, if_match, purge=purge)
    return Response(status_code=204)


@stats_router.get("/stats", response_model=MemoryStats)
async def count_memories(caller: CanRead, memories: Memories) -> Response:
    """Count memories by tier."""
    return send_model(await memories.stats(caller))
