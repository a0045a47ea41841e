"""The HTTP route of batches."""

from __future__ import annotations

from fastapi import Response

from tmws_contracts.task_batch import TaskBatch, TaskBatchResult
from tmws_shared.idempotency import Once
from tmws_shared.replies import send
from tmws_shared.routing import StrictRouter
from tmws_task.parameters import Batches, CanWrite

batch_router = StrictRouter(prefix="/api/v1/tasks", tags=["tasks"])


@batch_router.post("/batch", response_model=TaskBatchResult)
async def change_tasks(caller: CanWrite, batches: Batches, batch: TaskBatch, once: Once) -> Response:
    """Create, change, complete, fail, cancel, reopen and delete up to 500 tasks.

    Everything is created first, so that a whole graph goes in at once: `"depends_on": ["#a"]` names the create with
    `"ref": "a"`. With `atomic` nothing is kept unless all succeed.
    """
    return send(await batches.run(caller, batch, once))
