"""What the routes of the task service have in common."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from tmws_shared.auth import NeedsScope, Principal
from tmws_task.batches import BatchService
from tmws_task.claiming import ClaimService
from tmws_task.reading import HistoryService
from tmws_task.service import TaskService

CanRead = Annotated[Principal, Depends(NeedsScope("task:read"))]
CanWrite = Annotated[Principal, Depends(NeedsScope("task:write"))]


async def _service(request: Request) -> TaskService:
    return request.app.state.tasks


async def _claims(request: Request) -> ClaimService:
    return request.app.state.claims


async def _history(request: Request) -> HistoryService:
    return request.app.state.history


async def _batches(request: Request) -> BatchService:
    return request.app.state.batches


Tasks = Annotated[TaskService, Depends(_service)]
Claims = Annotated[ClaimService, Depends(_claims)]
History = Annotated[HistoryService, Depends(_history)]
Batches = Annotated[BatchService, Depends(_batches)]
