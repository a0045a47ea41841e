"""The memory service's HTTP routes."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from tmws_contracts.common import Limit, Page, Slug
from tmws_contracts.memory import Memory, MemorySearch, MemoryStats, NewMemory, SearchResults, StoredMemory
from tmws_contracts.persona_figures import PersonaMemories
from tmws_memory.bulk_routes import bulk_router
from tmws_memory.change_routes import change_router
from tmws_memory.parameters import CanRead, CanWrite, Filters
from tmws_memory.repository import MemoryOrder, Recall, Which
from tmws_memory.search import Searcher
from tmws_memory.service import MemoryService
from tmws_shared.idempotency import Once
from tmws_shared.problems import InvalidRequest
from tmws_shared.replies import Cursor, send, send_model
from tmws_shared.routing import StrictRouter

router = StrictRouter(prefix="/api/v1/memory", tags=["memory"])
stats_router = StrictRouter(tags=["system"])


async def _service(request: Request) -> MemoryService:
    return request.app.state.memories


async def _searcher(request: Request) -> Searcher:
    return request.app.state.searcher


Memories = Annotated[MemoryService, Depends(_service)]
Searching = Annotated[Searcher, Depends(_searcher)]


async def _recall(
    filters: Filters,
    sort: MemoryOrder = MemoryOrder.NEWEST,
    shared: Annotated[bool, Query(description="those that others share with you, of any namespace")] = False,
    deleted: Annotated[bool, Query(description="your deleted ones, by when they were deleted")] = False,
) -> Recall:
    return Recall(filters, sort, _which(sort, is_shared=shared, is_deleted=deleted))


def _which(sort: MemoryOrder, *, is_shared: bool, is_deleted: bool) -> Which:
    if is_deleted and is_shared:
        raise InvalidRequest.of("?shared", "must be left out beside deleted=true")
    if is_deleted and sort not in (MemoryOrder.NEWEST, MemoryOrder.OLDEST):
        raise InvalidRequest.of("?sort", "must be newest or oldest beside deleted=true")
    return Which.DELETED if is_deleted else Which.SHARED if is_shared else Which.VISIBLE


@router.post("/store", response_model=StoredMemory, status_code=201)
async def store_memory(caller: CanWrite, memories: Memories, memory: NewMemory, once: Once) -> Response:
    """Remember a content. The same content again (200, `deduplicated`) is counted and never kept twice.

    A repetition raises importance, adds tags and prolongs life; the metadata stay those of the first time.
    """
    return send(await memories.store(caller, memory, once))


@router.post("/search", response_model=SearchResults)
async def search_memories(caller: CanRead, searcher: Searching, search: MemorySearch) -> Response:
    """Find memories by meaning and words, best first. Without embeddings, words alone answer, and it says so."""
    return Response(await searcher.search(caller, search), media_type="application/json")


@router.get("/recall", response_model=Page[Memory])
async def recall_memories(
    caller: CanRead,
    memories: Memories,
    wanted: Annotated[Recall, Depends(_recall)],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List memories by criteria, a page at a time."""
    return send_model(await memories.recall(caller, wanted, cursor, limit))


@router.get("/stats", response_model=MemoryStats)
async def memory_stats(caller: CanRead, memories: Memories) -> Response:
    """Count the memories that the caller may see: by tier, deleted, not embedded yet, shared by others."""
    return send_model(await memories.stats(caller))


@router.get("/{memory_id}", response_model=Memory)
async def get_memory(caller: CanRead, memories: Memories, memory_id: UUID) -> Response:
    """Return a memory."""
    return send_model(await memories.get(caller, memory_id))


@stats_router.get("/stats", response_model=MemoryStats)
async def count_memories(caller: CanRead, memories: Memories) -> Response:
    """Count memories, for the gateway's own statistics."""
    return send_model(await memories.stats(caller))


@stats_router.get("/stats/personas/{persona_id}", response_model=PersonaMemories)
async def count_memories_of_persona(caller: CanRead, memories: Memories, persona_id: Slug) -> Response:
    """Count the memories of a persona, for the persona service."""
    return send_model(await memories.stats_of_persona(caller, persona_id))


# The literal paths come before those with an id.
ROUTERS = (bulk_router, router, change_router, stats_router)
