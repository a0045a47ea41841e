"""SQL of single tasks: read, lock, add, change, delete."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import func, update
from sqlmodel import col

from tmws_contracts.common import JsonObject, Priority
from tmws_contracts.task import TaskStatus
from tmws_contracts.task_history import TaskAction
from tmws_shared.database import Connection, Row
from tmws_task.models import TaskRow
from tmws_task.repository.views import VIEW, view
from tmws_task.states import TaskState

_GET: Final = f"SELECT {VIEW} FROM tasks t WHERE t.namespace = $1 AND t.id = $2"  # noqa: S608 -- our own columns
_VERSIONS: Final = "SELECT id, version FROM tasks WHERE namespace = $1 AND id = ANY($2::uuid[])"
# Whoever finishes a task changes those that wait for it, and must not meet somebody who changes the graph from the
# other end: the lock comes before the row's.
_LOCK: Final = """
    WITH held AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(hashtextextended('task graph ' || $1, 0)))
    SELECT t.status::text, t.version, t.unmet, t.unblocks, t.lease_until IS NOT NULL AS is_leased, t.claim_token,
           t.claimed_by, t.metadata, t.output_schema
    FROM tasks t CROSS JOIN held WHERE t.namespace = $1 AND t.id = $2 FOR NO KEY UPDATE OF t
"""
# It waits for no writer but a deletion, so that two tasks can be made parents of others at once.
_KEEP: Final = "SELECT id FROM tasks WHERE namespace = $1 AND id = ANY($2::uuid[]) ORDER BY id FOR KEY SHARE"
# A set of tasks and what they depend on. The rows are their own view: nobody else can have seen them yet.
_INSERT: Final = f"""
    WITH x AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset($2::jsonb) AS x (
            id uuid, title text, description text, status text, priority text, assigned_persona text,
            capabilities text[], progress smallint, details jsonb, labels text[], due_at timestamptz, parent_id uuid,
            output_schema jsonb, unmet integer, depends_on uuid[])
    ), t AS (
        INSERT INTO tasks (id, namespace, title, description, status, priority, effective_priority, assigned_persona,
            capabilities, progress, metadata, labels, due_at, parent_id, output_schema, unmet, author, author_persona)
        SELECT id, $1, title, description, status::task_status, priority::task_priority, priority::task_priority,
            assigned_persona, capabilities, progress, details, labels, due_at, parent_id, output_schema, unmet, $3, $4
        FROM x RETURNING *
    ), edges AS (
        INSERT INTO task_dependencies (task_id, depends_on)
        SELECT DISTINCT x.id, d FROM x CROSS JOIN unnest(depends_on) d
    )
    SELECT {view("ARRAY(SELECT DISTINCT d::text FROM unnest(x.depends_on) d ORDER BY 1)")} FROM t JOIN x ON x.id = t.id
"""  # noqa: S608 -- our own columns
_DELETE: Final = "DELETE FROM tasks WHERE namespace = $1 AND id = $2"
# The whole of completing claimed tasks that nobody waits for; whatever else there is to look at, it does not match.
# As a text the status keeps the planner from looking at everything that is in progress instead of at these ids; by the
# limit it thinks there is one of them, and looks at that through the key however little it knows of the table.
_COMPLETE: Final = f"""
    WITH t AS (
        UPDATE tasks o SET status = 'completed', progress = 100, result = c.result::jsonb, lease_until = NULL,
            action = 'completed', author = c.author, author_persona = c.persona, version = version + 1,
            updated_at = now()
        FROM (SELECT * FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[])
              c (id, token, result, author, persona) LIMIT $7::integer) c
        WHERE o.namespace = $1 AND o.id = c.id AND o.claim_token = c.token AND o.status::text = 'in_progress'
            AND o.unmet = 0 AND o.unblocks = 0 AND o.output_schema IS NULL
        RETURNING o.*
    ) SELECT {VIEW} FROM t
"""  # noqa: S608 -- our own columns


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes something; `persona` is None for who speaks for none."""

    name: str
    persona: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A claimed task of a namespace that is to be completed."""

    namespace: str
    task_id: UUID
    token: int
    result: JsonObject | None
    author: Author


@dataclass(frozen=True, slots=True)
class Draft:
    """A task to be; its parent and dependencies are known to exist."""

    id: UUID
    title: str
    description: str | None = None
    status: TaskStatus = TaskStatus.PENDING
    priority: Priority = Priority.MEDIUM
    assigned_persona: str | None = None
    capabilities: list[str] = field(default_factory=list[str])
    progress: int = 0
    details: JsonObject = field(default_factory=dict[str, Any])
    labels: list[str] = field(default_factory=list[str])
    due_at: datetime | None = None
    parent_id: UUID | None = None
    output_schema: JsonObject | None = None
    unmet: int = 0
    depends_on: list[UUID] = field(default_factory=list[UUID])


@dataclass(frozen=True, slots=True)
class Creation:
    """A task to be in a namespace."""

    namespace: str
    author: Author
    draft: Draft


class TaskRepository:
    """The tasks of one namespace, through one connection."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    async def get(self, task_id: UUID) -> Row | None:
        """Return the task's view, or None."""
        return await self._connection.fetchrow(_GET, self._namespace, task_id)

    async def versions(self, task_ids: Sequence[UUID]) -> dict[UUID, int]:
        """Return the versions of those that exist."""
        rows = await self._connection.fetch(_VERSIONS, self._namespace, list(task_ids))
        return {row["id"]: row["version"] for row in rows}

    @asynccontextmanager
    async def savepoint(self) -> AsyncGenerator[None]:
        """Undo what the block did when it fails, and no more."""
        async with self._connection.raw.transaction():
            yield

    async def lock(self, task_id: UUID) -> TaskState | None:
        """Lock the task until the transaction ends and return its state, or None."""
        row = await self._connection.fetchrow(_LOCK, self._namespace, task_id)
        if row is None:
            return None
        values: dict[str, Any] = dict(row)
        status = TaskStatus(values.pop("status"))
        return TaskState(status, **values)

    async def keep(self, task_ids: Sequence[UUID]) -> set[UUID]:
        """Keep these tasks from being deleted until the transaction ends; return those that exist."""
        return {row["id"] for row in await self._connection.fetch(_KEEP, self._namespace, list(task_ids))}

    async def insert(self, drafts: Sequence[Draft], author: Author) -> list[Row]:
        """Add tasks and what they depend on; return their views in any order."""
        return await self._connection.fetch(_INSERT, self._namespace, list(drafts), author.name, author.persona)

    async def complete(self, completions: Sequence[Completion]) -> dict[str, Row]:
        """Complete claimed tasks in one go; return the views, by id, of those to which there is no more."""
        # In the order of their ids, so that two who complete the same tasks at the same time do not lock each other.
        ordered = sorted(completions, key=lambda completion: completion.task_id)
        rows = await self._connection.fetch(
            _COMPLETE,
            self._namespace,
            [completion.task_id for completion in ordered],
            [completion.token for completion in ordered],
            [None if each.result is None else orjson.dumps(each.result).decode() for each in ordered],
            [completion.author.name for completion in ordered],
            [completion.author.persona for completion in ordered],
            len(ordered),
        )
        return {row["id"]: row for row in rows}

    async def update(self, task_id: UUID, values: dict[str, Any], action: TaskAction, author: Author) -> None:
        """Set columns of a task, its version and updated_at."""
        statement = (
            update(TaskRow)
            .where(col(TaskRow.namespace) == self._namespace, col(TaskRow.id) == task_id)
            .values(
                {
                    **values,
                    "action": action,
                    "author": author.name,
                    "author_persona": author.persona,
                    "version": col(TaskRow.version) + 1,
                    "updated_at": func.now(),
                }
            )
        )
        await self._connection.execute(statement)

    async def delete(self, task_id: UUID) -> None:
        """Delete the task."""
        await self._connection.execute(_DELETE, self._namespace, task_id)
