"""The HTTP routes that change memories: batches, patches, deletion and its undoing, history, shares."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from tmws_contracts.common import Limit, Page
from tmws_contracts.memory import Memory
from tmws_contracts.memory_changes import MemoryChange, MemoryVersion, NewMemories, NewShare, Share, StoredMemories
from tmws_memory.batches import Batches
from tmws_memory.changes import MemoryChanges
from tmws_memory.parameters import CanDelete, CanRead, CanShare, CanWrite
from tmws_memory.sharing import Sharing
from tmws_shared.idempotency import Once
from tmws_shared.replies import Cursor, IfMatch, send, send_model
from tmws_shared.routing import StrictRouter

change_router = StrictRouter(prefix="/api/v1/memory", tags=["memory"])


async def _batches(request: Request) -> Batches:
    return request.app.state.batches


async def _changes(request: Request) -> MemoryChanges:
    return request.app.state.changes


async def _sharing(request: Request) -> Sharing:
    return request.app.state.sharing


Changes = Annotated[MemoryChanges, Depends(_changes)]
Shown = Annotated[Sharing, Depends(_sharing)]


@change_router.post("/store/batch", response_model=StoredMemories)
async def store_memories(
    caller: CanWrite, batches: Annotated[Batches, Depends(_batches)], batch: NewMemories, once: Once
) -> Response:
    """Remember up to 1,000 contents (8 MiB) in their order. Each item is kept or refused by itself; see its `status`.

    Items are written 200 at a time. What cannot be embedded in time is `pending`: words find it at once.
    """
    return send(await batches.store(caller, batch, once))


@change_router.patch("/{memory_id}", response_model=Memory)
async def change_memory(
    caller: CanWrite, changes: Changes, memory_id: UUID, change: MemoryChange, if_match: IfMatch
) -> Response:
    """Change a memory: the fields given are set, members of `metadata` too (null removes one); the others stay.

    To hide it from the namespace, or to let it expire earlier, needs memory:delete besides.
    """
    return send_model(await changes.change(caller, memory_id, change, if_match))


@change_router.delete("/{memory_id}", status_code=204)
async def delete_memory(
    caller: CanDelete,
    changes: Changes,
    memory_id: UUID,
    if_match: IfMatch,
    purge: Annotated[bool, Query(description="erase it at once, also a deleted one")] = False,
) -> Response:
    """Delete a memory; it can be restored for 30 days, then it is erased."""
    await changes.delete(caller, memory_id, if_match, purge=purge)
    return Response(status_code=204)


@change_router.post("/{memory_id}/restore", response_model=Memory)
async def restore_memory(
    caller: CanWrite, changes: Changes, memory_id: UUID, once: Once, if_match: IfMatch
) -> Response:
    """Bring a deleted or expired memory back, with its history and shares; an expired one lives 24 hours more."""
    return send(await changes.restore(caller, memory_id, once, if_match))


@change_router.get("/{memory_id}/history", response_model=Page[MemoryVersion])
async def list_memory_versions(
    caller: CanRead, changes: Changes, memory_id: UUID, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List what was done to a memory, newest first: by whom, when, and what changed; also of a deleted one."""
    return send_model(await changes.history(caller, memory_id, cursor, limit))


@change_router.post("/{memory_id}/share", response_model=Share, status_code=201)
async def share_memory(caller: CanShare, sharing: Shown, memory_id: UUID, share: NewShare, once: Once) -> Response:
    """Show a memory to a persona or a namespace, also another one; they can read and find it, never change it.

    Shared with the same again (200), only its end changes.
    """
    return send(await sharing.share(caller, memory_id, share, once))


@change_router.get("/{memory_id}/shares", response_model=Page[Share])
async def list_memory_shares(
    caller: CanRead, sharing: Shown, memory_id: UUID, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List with whom a memory is shared now, oldest first."""
    return send_model(await sharing.list_page(caller, memory_id, cursor, limit))


@change_router.delete("/{memory_id}/shares/{share_id}", status_code=204)
async def revoke_memory_share(caller: CanShare, sharing: Shown, memory_id: UUID, share_id: UUID) -> Response:
    """End a share; it takes effect at once."""
    await sharing.revoke(caller, memory_id, share_id)
    return Response(status_code=204)
