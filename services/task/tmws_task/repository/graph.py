"""SQL of what tasks depend on and belong to: circles, open dependencies, inherited priority, what is around a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from tmws_contracts.common import Priority
from tmws_contracts.task import TaskStatus
from tmws_shared.database import Connection, Row
from tmws_task.inheritance import Inherited, Node, inherit
from tmws_task.repository.views import BLOCKED, OPEN, READY

# Whoever changes the graph, or what is inherited along it, does so alone in a namespace.
_SERIALISE: Final = "SELECT pg_advisory_xact_lock(hashtextextended('task graph ' || $1, 0))"
_SHARE: Final = """
    SELECT id, status::text FROM tasks WHERE namespace = $1 AND id = ANY($2::uuid[]) ORDER BY id FOR SHARE
"""
_ADD: Final = "INSERT INTO task_dependencies (task_id, depends_on) SELECT DISTINCT $1::uuid, unnest($2::uuid[])"
_DROP: Final = "DELETE FROM task_dependencies WHERE task_id = $1 RETURNING depends_on"
_DEPENDS_ON: Final = "SELECT depends_on FROM task_dependencies WHERE task_id = $1"
# Whether `$2` can be reached from any of `$1` along depends_on.
_REACHES: Final = """
    WITH RECURSIVE ancestors (id) AS (
        SELECT unnest($1::uuid[])
        UNION
        SELECT d.depends_on FROM task_dependencies d JOIN ancestors a ON d.task_id = a.id
    )
    SELECT EXISTS (SELECT 1 FROM ancestors WHERE id = $2)
"""
# Whether `$2` is among `$1` and the parents above it.
_IS_UNDER: Final = """
    WITH RECURSIVE above (id) AS (
        SELECT $1::uuid
        UNION
        SELECT t.parent_id FROM tasks t JOIN above a ON t.id = a.id WHERE t.parent_id IS NOT NULL
    )
    SELECT EXISTS (SELECT 1 FROM above WHERE id = $2)
"""
# In order, so that two that finish at once do not wait for each other.
_RELEASE_DEPENDENTS: Final = """
    UPDATE tasks SET unmet = unmet - 1 WHERE id = ANY(ARRAY(
        SELECT t.id FROM task_dependencies d JOIN tasks t ON t.id = d.task_id WHERE d.depends_on = $1
        ORDER BY t.id FOR NO KEY UPDATE OF t))
"""
_OPEN_DEPENDENCIES: Final = """
    SELECT t.id FROM task_dependencies d JOIN tasks t ON t.id = d.depends_on
    WHERE d.task_id = $1 AND t.status <> 'completed' ORDER BY t.id LIMIT 100
"""
_DEPENDENTS: Final = """
    SELECT t.id FROM task_dependencies d JOIN tasks t ON t.id = d.task_id
    WHERE d.depends_on = $1 AND t.status <> 'completed' ORDER BY t.id LIMIT 100
"""
# The tasks given, and what open tasks among them and above them wait for.
_AFFECTED: Final = f"""
    WITH RECURSIVE up (id) AS (
        SELECT unnest($1::uuid[])
        UNION
        SELECT d.depends_on FROM up JOIN tasks t ON t.id = up.id AND {OPEN}
        JOIN task_dependencies d ON d.task_id = up.id
        JOIN tasks o ON o.id = d.depends_on AND o.status <> 'completed'
    )
    SELECT t.id, t.priority::text, t.effective_priority::text, t.unblocks,
           ARRAY(SELECT w.id FROM task_dependencies d JOIN tasks w ON w.id = d.task_id
                 WHERE d.depends_on = t.id AND w.status IN ('pending', 'in_progress', 'input_required')) AS waiting,
           ARRAY(SELECT w.effective_priority::text FROM task_dependencies d JOIN tasks w ON w.id = d.task_id
                 WHERE d.depends_on = t.id AND w.status IN ('pending', 'in_progress', 'input_required')) AS priorities
    FROM up JOIN tasks t ON t.id = up.id AND t.status <> 'completed'
"""  # noqa: S608 -- our own columns
_INHERIT: Final = """
    UPDATE tasks t SET effective_priority = n.priority::task_priority, unblocks = n.unblocks
    FROM unnest($1::uuid[], $2::text[], $3::integer[]) n (id, priority, unblocks) WHERE t.id = n.id
"""
# The tasks within `$3` steps of `$2`, nearest first, and one more than `$4` to tell that there are more.
_AROUND: Final = f"""
    WITH RECURSIVE around (id, distance) AS (
        SELECT id, 0 FROM tasks WHERE namespace = $1 AND id = $2
        UNION
        SELECT n.id, a.distance + 1 FROM around a CROSS JOIN LATERAL (
            SELECT depends_on AS id FROM task_dependencies WHERE task_id = a.id
            UNION ALL SELECT task_id FROM task_dependencies WHERE depends_on = a.id
        ) n WHERE a.distance < $3
    ), nearest AS (
        SELECT id, min(distance) AS distance FROM around GROUP BY id ORDER BY min(distance), id LIMIT $4 + 1
    )
    SELECT t.id::text AS id, t.title, t.status::text AS status, t.priority::text AS priority,
           t.effective_priority::text AS effective_priority, t.assigned_persona, {READY} AS ready,
           {BLOCKED} AS blocked, n.distance
    FROM nearest n JOIN tasks t ON t.id = n.id ORDER BY n.distance, t.id
"""  # noqa: S608 -- our own columns
_EDGES: Final = """
    SELECT task_id::text AS task_id, depends_on::text AS depends_on FROM task_dependencies
    WHERE task_id = ANY($1::uuid[]) AND depends_on = ANY($1::uuid[]) ORDER BY task_id, depends_on
"""
_HAS_MORE: Final = """
    SELECT EXISTS (SELECT 1 FROM task_dependencies
                   WHERE (task_id = ANY($1::uuid[])) <> (depends_on = ANY($1::uuid[]))
                     AND (task_id = ANY($1::uuid[]) OR depends_on = ANY($1::uuid[])))
"""


class GraphRepository:
    """The dependencies of one namespace, through one connection."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    async def serialise(self) -> None:
        """Let no other transaction of the namespace change the graph until this one ends."""
        await self._connection.execute(_SERIALISE, self._namespace)

    async def share(self, task_ids: Sequence[UUID]) -> dict[UUID, TaskStatus]:
        """Keep these tasks as they are until the transaction ends; return the status of those that exist."""
        rows = await self._connection.fetch(_SHARE, self._namespace, list(task_ids))
        return {row["id"]: TaskStatus(row["status"]) for row in rows}

    async def reaches(self, task_ids: Sequence[UUID], target: UUID) -> bool:
        """Whether any of `task_ids` is `target` or depends on it, directly or not."""
        return await self._connection.fetchval(_REACHES, list(task_ids), target)

    async def is_under(self, task_id: UUID, above: UUID) -> bool:
        """Whether a task is `above`, or has it among its parents, directly or not."""
        return await self._connection.fetchval(_IS_UNDER, task_id, above)

    async def depends_on(self, task_id: UUID) -> list[UUID]:
        """Return what the task depends on directly."""
        return [row["depends_on"] for row in await self._connection.fetch(_DEPENDS_ON, task_id)]

    async def set_dependencies(self, task_id: UUID, depends_on: Sequence[UUID]) -> list[UUID]:
        """Replace what the task depends on; return what it was."""
        before = [row["depends_on"] for row in await self._connection.fetch(_DROP, task_id)]
        if depends_on:
            await self._connection.execute(_ADD, task_id, list(depends_on))
        return before

    async def open_dependencies(self, task_id: UUID) -> list[UUID]:
        """Return up to 100 tasks that must be completed before this one."""
        return [row["id"] for row in await self._connection.fetch(_OPEN_DEPENDENCIES, task_id)]

    async def unfinished_dependents(self, task_id: UUID) -> list[UUID]:
        """Return up to 100 tasks that wait for this one."""
        return [row["id"] for row in await self._connection.fetch(_DEPENDENTS, task_id)]

    async def release_dependents(self, task_id: UUID) -> None:
        """Count this task as met in everything that depends on it."""
        await self._connection.execute(_RELEASE_DEPENDENTS, task_id)

    async def inherit(self, task_ids: Sequence[UUID]) -> None:
        """Work out anew how urgent these tasks are, and those that they wait for."""
        rows = await self._connection.fetch(_AFFECTED, list(task_ids))
        nodes = {row["id"]: _node(row) for row in rows}
        known = {row["id"]: Inherited(Priority(row["effective_priority"]), row["unblocks"]) for row in rows}
        changed = {key: new for key, new in inherit(nodes).items() if new != known[key]}
        if changed:
            await self._connection.execute(
                _INHERIT,
                list(changed),
                [new.priority for new in changed.values()],
                [new.unblocks for new in changed.values()],
            )

    async def around(self, task_id: UUID, depth: int, limit: int) -> dict[str, Any] | None:
        """Return the graph around a task (see TaskGraph), or None when there is no such task."""
        rows = await self._connection.fetch(_AROUND, self._namespace, task_id, depth, limit)
        if not rows:
            return None
        nodes = [dict(row) for row in rows[:limit]]
        ids = [node["id"] for node in nodes]
        edges = [dict(row) for row in await self._connection.fetch(_EDGES, ids)]
        is_cut_off = len(rows) > limit or await self._connection.fetchval(_HAS_MORE, ids)
        return {"nodes": nodes, "edges": edges, "is_cut_off": is_cut_off}


def _node(row: Row) -> Node:
    waiting = zip(row["waiting"], map(Priority, row["priorities"]), strict=True)
    return Node(Priority(row["priority"]), dict(waiting))
