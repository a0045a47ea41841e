"""What can be done with tasks; each method is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from tmws_contracts.common import Page
from tmws_contracts.task import NewTask, Task, TaskChange, TaskCompletion, TaskStats, TaskStatus
from tmws_shared.auth import Principal
from tmws_shared.clock import new_id
from tmws_shared.database import Connection, Database
from tmws_shared.events import append_event
from tmws_shared.idempotency import Attempt, Reply, do_once
from tmws_shared.pagination import Cursors
from tmws_shared.replies import match_version, reply
from tmws_task.errors import (
    DependenciesOpen,
    DependencyCycle,
    IllegalTransition,
    TaskHasDependents,
    TaskNotFound,
    UnknownTask,
)
from tmws_task.repository import TaskFilter, TaskInsert, TaskRepository, TaskState

LEGAL: dict[TaskStatus, tuple[TaskStatus, ...]] = {
    TaskStatus.PENDING: (TaskStatus.IN_PROGRESS, TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED),
    TaskStatus.IN_PROGRESS: (TaskStatus.PENDING, TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED),
    TaskStatus.FAILED: (TaskStatus.PENDING,),
    TaskStatus.CANCELLED: (TaskStatus.PENDING,),
    TaskStatus.COMPLETED: (),
}
BELL = "task-events"
FINISHED = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})
_COLUMN_OF = {"metadata": "details"}


class TaskService:
    """The tasks of all namespaces; a caller sees only its own.

    `tell_relay` is called after a commit that may have left events in the outbox.
    """

    def __init__(self, database: Database, cursors: Cursors, tell_relay: Callable[[], None]) -> None:
        self._database = database
        self._cursors = cursors
        self._tell_relay = tell_relay

    async def create(self, caller: Principal, task: NewTask, attempt: Attempt) -> Reply:
        """Create a task.

        Raises:
            UnknownTask: `parent_id` or `depends_on` names no task of the namespace.
        """

        async def work(connection: Connection) -> Reply:
            tasks = TaskRepository(connection, caller.namespace)
            await _need_parent(tasks, task.parent_id)
            unmet = await _count_unmet(tasks, task.depends_on)
            task_id = new_id()
            await tasks.insert(
                TaskInsert(
                    id=task_id,
                    title=task.title,
                    description=task.description,
                    priority=task.priority,
                    assigned_persona=task.assigned_persona,
                    details=task.metadata,
                    labels=task.labels,
                    due_at=task.due_at,
                    parent_id=task.parent_id,
                    unmet=unmet,
                    status=task.status,
                    progress=task.progress,
                    depends_on=task.depends_on,
                )
            )
            return reply(await _view(tasks, task_id), 201, location=f"/api/v1/tasks/{task_id}")

        return await do_once(self._database, attempt, work)

    async def get(self, caller: Principal, task_id: UUID) -> Task:
        """Return a task.

        Raises:
            TaskNotFound: there is none.
        """
        async with self._database.connection() as connection:
            return await _view(TaskRepository(connection, caller.namespace), task_id)

    async def list_page(self, caller: Principal, wanted: TaskFilter, cursor: str | None, limit: int) -> Page[Task]:
        """Return a page of tasks.

        Raises:
            MalformedRequest: the cursor belongs to another list.
        """
        context = {"list": "tasks", "namespace": caller.namespace, "filter": wanted}
        after = self._cursors.decode(cursor, **context)
        async with self._database.connection() as connection:
            found = await TaskRepository(connection, caller.namespace).list_page(wanted, after, limit + 1)
        more = len(found) > limit
        next_cursor = self._cursors.encode(found[limit - 1][1], **context) if more else None
        return Page(items=[task for task, _ in found[:limit]], next_cursor=next_cursor)

    async def update(self, caller: Principal, task_id: UUID, change: TaskChange, if_match: str | None) -> Task:
        """Set the fields that `change` was given.

        Raises:
            TaskNotFound: there is none.
            PreconditionFailed: it is not the version that `if_match` names.
            IllegalTransition: the status cannot be reached.
            DependenciesOpen: it is to be completed too early.
            DependencyCycle: it would come to depend on itself.
        """
        values = _given(change)
        async with self._database.transaction() as connection:
            tasks = TaskRepository(connection, caller.namespace)
            depends_on = values.pop("depends_on", None)
            unmet = await _count_new_unmet(tasks, task_id, depends_on)
            state = await _lock(tasks, task_id, if_match)
            if "parent_id" in values:
                await _need_parent(tasks, values["parent_id"], child=task_id)
            if depends_on is not None:
                await tasks.set_dependencies(task_id, depends_on)
                values["unmet"] = unmet
                state = TaskState(state.status, state.version, unmet)
            await _change(tasks, connection, caller, task_id, state, values)
            changed = await _view(tasks, task_id)
        self._tell_relay()
        return changed

    async def complete(
        self, caller: Principal, task_id: UUID, completion: TaskCompletion, attempt: Attempt, if_match: str | None
    ) -> Reply:
        """Complete a task; completing it again changes nothing.

        Raises:
            TaskNotFound: there is none.
            DependenciesOpen: something it depends on is not completed.
            IllegalTransition: it has failed or was cancelled.
        """

        async def work(connection: Connection) -> Reply:
            tasks = TaskRepository(connection, caller.namespace)
            state = await _lock(tasks, task_id, if_match)
            if state.status is not TaskStatus.COMPLETED:
                values: dict[str, Any] = {"status": TaskStatus.COMPLETED, "result": completion.result}
                await _change(tasks, connection, caller, task_id, state, values)
            return reply(await _view(tasks, task_id))

        answer = await do_once(self._database, attempt, work)
        self._tell_relay()
        return answer

    async def delete(self, caller: Principal, task_id: UUID, if_match: str | None) -> None:
        """Delete a task.

        Raises:
            TaskNotFound: there is none.
            TaskHasDependents: unfinished tasks depend on it.
        """
        async with self._database.transaction() as connection:
            tasks = TaskRepository(connection, caller.namespace)
            await _lock(tasks, task_id, if_match)
            dependents = await tasks.unfinished_dependents(task_id)
            if dependents:
                raise TaskHasDependents(dependents)
            await tasks.delete(task_id)
            await append_event(connection, "task.deleted", caller.namespace, str(task_id), {})
        self._tell_relay()

    async def stats(self, caller: Principal) -> TaskStats:
        """Count the namespace's tasks."""
        async with self._database.connection() as connection:
            rows = await TaskRepository(connection, caller.namespace).stats()
        by_status = dict.fromkeys(TaskStatus, 0) | {TaskStatus(row["status"]): row["tasks"] for row in rows}
        return TaskStats(
            by_status=by_status, ready=sum(row["ready"] for row in rows), overdue=sum(row["overdue"] for row in rows)
        )


def _given(change: TaskChange) -> dict[str, Any]:
    """The fields the caller named, by column."""
    values = {name: getattr(change, name) for name in change.model_fields_set}
    return {_COLUMN_OF.get(name, name): value for name, value in values.items()}


async def _view(tasks: TaskRepository, task_id: UUID) -> Task:
    task = await tasks.get(task_id)
    if task is None:
        raise TaskNotFound
    return task


async def _lock(tasks: TaskRepository, task_id: UUID, if_match: str | None) -> TaskState:
    state = await tasks.lock(task_id)
    if state is None:
        raise TaskNotFound
    match_version(if_match, state.version)
    return state


async def _need_parent(tasks: TaskRepository, parent_id: UUID | None, child: UUID | None = None) -> None:
    if parent_id is not None and (parent_id == child or not await tasks.keep(parent_id)):
        raise UnknownTask("/parent_id")


async def _count_unmet(tasks: TaskRepository, depends_on: Sequence[UUID]) -> int:
    if not depends_on:
        return 0
    found = await tasks.share(depends_on)
    for place, task_id in enumerate(depends_on):
        if task_id not in found:
            raise UnknownTask(f"/depends_on/{place}")
    return sum(status is not TaskStatus.COMPLETED for status in found.values())


async def _count_new_unmet(tasks: TaskRepository, task_id: UUID, depends_on: Sequence[UUID] | None) -> int:
    """Check new dependencies, before the task itself is locked."""
    if not depends_on:
        return 0
    await tasks.serialise_graph()
    if await tasks.reaches(depends_on, task_id):
        raise DependencyCycle
    return await _count_unmet(tasks, depends_on)


async def _change(
    tasks: TaskRepository,
    connection: Connection,
    caller: Principal,
    task_id: UUID,
    state: TaskState,
    values: dict[str, Any],
) -> None:
    wanted = values.get("status", state.status)
    if wanted is not state.status:
        await _check_transition(tasks, task_id, state, wanted)
    if wanted is TaskStatus.COMPLETED:
        values = {**values, "progress": 100}
    if values:
        await tasks.update(task_id, values)
    if wanted is not state.status and wanted in FINISHED:
        await _tell(tasks, connection, caller, task_id, wanted)


async def _check_transition(tasks: TaskRepository, task_id: UUID, state: TaskState, wanted: TaskStatus) -> None:
    if wanted not in LEGAL[state.status]:
        raise IllegalTransition(state.status, LEGAL[state.status])
    if wanted is TaskStatus.COMPLETED and state.unmet:
        raise DependenciesOpen(await tasks.open_dependencies(task_id))


async def _tell(
    tasks: TaskRepository, connection: Connection, caller: Principal, task_id: UUID, status: TaskStatus
) -> None:
    if status is TaskStatus.COMPLETED:
        await tasks.release_dependents(task_id)
    await append_event(connection, f"task.{status}", caller.namespace, str(task_id), {"status": status})
