"""Cancelling executions, whoever asks for it."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from tmws_shared.database import Connection
from tmws_workflow.changing import change_executions
from tmws_workflow.engine.control import cancel
from tmws_workflow.plans import Plans
from tmws_workflow.repository.journal import Journal

BATCH = 500
_BEFORE_ALL = UUID(int=0)


async def cancel_executions(connection: Connection, plans: Plans, execution_ids: Iterable[UUID]) -> list[UUID]:
    """Cancel executions in the caller's transaction; return those that had not ended."""
    return [advance.execution.id for advance in await change_executions(connection, plans, execution_ids, cancel)]


async def cancel_all_of(connection: Connection, plans: Plans, namespace: str, workflow_id: UUID) -> list[UUID]:
    """Cancel every execution of a workflow that has not ended, however many; return those it reached."""
    reached, last = list[UUID](), _BEFORE_ALL
    while found := await Journal(connection).open_of(namespace, workflow_id, last, BATCH):
        reached += await cancel_executions(connection, plans, found)
        last = found[-1]
    return reached
