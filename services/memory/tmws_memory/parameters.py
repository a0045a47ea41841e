"""What the routes of memories take from a request alike: scopes, filters in the query, the cursor."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query

from tmws_contracts.common import Slug, UtcTime
from tmws_contracts.memory import SearchFilters, SessionId, Tags, Tier
from tmws_shared.auth import NeedsScope, Principal

CanRead = Annotated[Principal, Depends(NeedsScope("memory:read"))]
CanWrite = Annotated[Principal, Depends(NeedsScope("memory:write"))]
CanDelete = Annotated[Principal, Depends(NeedsScope("memory:delete"))]
CanShare = Annotated[Principal, Depends(NeedsScope("memory:share"))]


async def _filters(
    tags: Annotated[Tags | None, Query(description="has all of these")] = None,
    persona_id: Slug | None = None,
    session_id: SessionId | None = None,
    tier: Tier | None = None,
    importance_min: Annotated[float | None, Query(ge=0, le=1)] = None,
    created_after: UtcTime | None = None,
    created_before: UtcTime | None = None,
) -> SearchFilters:
    return SearchFilters(
        tags=tags or [], metadata={}, persona_id=persona_id, session_id=session_id, tier=tier,
        importance_min=importance_min, created_after=created_after, created_before=created_before,
    )  # fmt: skip


Filters = Annotated[SearchFilters, Depends(_filters)]
