"""The queue: the rows of ready steps, leases on running ones, and waiting ones that are to be looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tmws_shared.database import Connection, Database, Row
from tmws_workflow.repository.pinned import Pinned

_NEXT = """
    SELECT extract(epoch FROM least(
        (SELECT min(sched_key) FROM step_executions WHERE status = 'ready'),
        (SELECT min(look_at) FROM step_executions WHERE status = 'waiting')) - now())::float8
"""
# The namespaces that have ready steps, beginning with the one after $1, in a ring; each costs one look into an index.
_RING = """
    RECURSIVE ring AS (
        SELECT 1 AS turn, n.namespace, n.namespace AS first FROM (SELECT {after_given} AS namespace) n
        UNION ALL
        SELECT turn + 1, n.namespace, r.first FROM ring r CROSS JOIN LATERAL (SELECT {after_ring} AS namespace) n
        WHERE r.turn < $2 AND n.namespace <> r.first
    ), active AS MATERIALIZED (
        SELECT turn, namespace FROM ring WHERE (
            SELECT s.sched_key FROM step_executions s
            WHERE s.status = 'ready' AND s.namespace = ring.namespace ORDER BY s.sched_key LIMIT 1) <= now()
    )
"""
_AFTER = """coalesce(
    (SELECT namespace FROM step_executions WHERE status = 'ready' AND namespace > {0} ORDER BY namespace LIMIT 1),
    (SELECT namespace FROM step_executions WHERE status = 'ready' ORDER BY namespace LIMIT 1))"""
_ACTIVE = _RING.format(after_given=_AFTER.format("$1"), after_ring=_AFTER.format("r.namespace"))
# Each namespace gets its share, and within it the most urgent steps come first. The execution's columns come out of the
# locking part: there they are the row's newest version.
_CLAIM = f"""
    WITH {_ACTIVE}, picked AS (
        SELECT p.* FROM active a CROSS JOIN LATERAL (
            SELECT s.execution_id, s.path, e.namespace, e.workflow_id, e.workflow_version, e.status, e.last_seq,
                   e.retries, e.parameters, e.principal, e.traceparent, s.namespace AS queue, a.turn
            FROM step_executions s JOIN executions e ON e.id = s.execution_id
            WHERE s.status = 'ready' AND s.namespace = a.namespace AND s.sched_key <= now()
            ORDER BY s.sched_key LIMIT (SELECT ceil($2::numeric / count(*))::int FROM active)
            FOR NO KEY UPDATE OF s, e SKIP LOCKED
        ) p ORDER BY p.turn LIMIT $2
    )
    UPDATE step_executions s SET
        status = 'running', attempt = s.attempt + 1, fence = s.fence + 1, lease_owner = $3,
        lease_until = now() + make_interval(secs => $4), started_at = coalesce(s.started_at, now()),
        deadline_at = coalesce(s.deadline_at, now() + make_interval(secs => s.timeout_s))
    FROM picked p WHERE s.execution_id = p.execution_id AND s.path = p.path AND s.status = 'ready'
    RETURNING s.execution_id, s.path, s.attempt, s.fence, s.run, s.item_no, s.input,
        extract(epoch FROM s.deadline_at - now())::float8 AS left_s, p.namespace, p.workflow_id, p.workflow_version,
        p.status::text, p.last_seq, p.retries, p.parameters, p.principal, p.traceparent, p.queue, p.turn
"""  # noqa: S608 -- our own fragments
_OTHERS = f"WITH {_ACTIVE} SELECT count(*) FROM active WHERE namespace <> ALL($3::text[])"  # noqa: S608 -- our own fragments
_STARTED = """
    WITH started AS (
        UPDATE executions e SET status = CASE WHEN e.status = 'pending' THEN 'running' ELSE e.status END,
            started_at = coalesce(e.started_at, now()), last_seq = c.last_seq
        FROM jsonb_to_recordset($1::jsonb -> 'executions') AS c (id uuid, last_seq bigint)
        WHERE e.id = c.id AND e.status IN ('pending', 'running', 'cancelling')
        RETURNING 1
    ), journal AS (
        INSERT INTO events (execution_id, seq, type, path, attempt, data)
        SELECT execution_id, seq, type, path, attempt, '{}' FROM jsonb_to_recordset($1::jsonb -> 'events') AS c (
            execution_id uuid, seq bigint, type text, path text, attempt int)
    )
    SELECT count(*) FROM started
"""
# A row that is locked is about to be committed and needs no renewal; waiting for it could be a deadlock.
_RENEW = """
    UPDATE step_executions s SET lease_until = now() + make_interval(secs => $5)
    FROM (
        SELECT h.execution_id, h.path FROM unnest($1::uuid[], $2::text[], $3::int[]) AS h (execution_id, path, fence)
        JOIN step_executions r USING (execution_id, path)
        WHERE r.status = 'running' AND r.fence = h.fence AND r.lease_owner = $4 FOR NO KEY UPDATE OF r SKIP LOCKED
    ) held
    WHERE s.execution_id = held.execution_id AND s.path = held.path
"""
# Steps of executions that are being cancelled, but what undoes them; and items of maps that have failed.
_UNWANTED_RUNNING = """
    SELECT h.execution_id, h.path FROM unnest($1::uuid[], $2::text[]) AS h (execution_id, path)
    JOIN executions e ON e.id = h.execution_id
    LEFT JOIN step_executions m ON m.execution_id = h.execution_id AND m.path = split_part(h.path, '[', 1)
                                   AND m.path <> h.path
    WHERE (e.status = 'cancelling' AND NOT h.path LIKE '%~undo') OR m.error IS NOT NULL
"""
_LAPSED = """
    (SELECT execution_id, path, fence, lease_owner FROM step_executions
     WHERE status = 'running' AND lease_until < now() ORDER BY lease_until LIMIT $1)
    UNION ALL
    (SELECT execution_id, path, fence, NULL FROM step_executions
     WHERE status IN ('pending', 'ready', 'waiting') AND deadline_at < now() ORDER BY deadline_at LIMIT $1)
"""
# Looking is no change of state: whoever takes a row to look at it puts the next look a lease away, and that is all.
_DUE = """
    WITH picked AS (
        SELECT execution_id, path FROM step_executions WHERE {condition} AND look_at <= now()
        ORDER BY look_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE step_executions s SET look_at = now() + make_interval(secs => $2)
    FROM picked p JOIN executions e ON e.id = p.execution_id
    WHERE s.execution_id = p.execution_id AND s.path = p.path AND {own_condition}
    RETURNING s.execution_id, s.path, s.kind, s.fence, s.wait_key, e.namespace, e.principal, e.traceparent
"""
_DUE_WAITS = _DUE.format(condition="status = 'waiting'", own_condition="s.status = 'waiting'")
_UNWANTED = "status IN ('cancelled', 'timed_out') AND wait_key IS NOT NULL"
_DUE_WITHDRAWALS = _DUE.format(
    condition=_UNWANTED, own_condition="s.status IN ('cancelled', 'timed_out') AND s.wait_key IS NOT NULL"
)
_LOOK_AGAIN = """UPDATE step_executions SET look_at = now() + make_interval(secs => $4)
    WHERE execution_id = $1 AND path = $2 AND fence = $3 AND status = 'waiting'"""
# What was asked for under the step's idempotency key is used up with it.
_WITHDRAWN = """UPDATE step_executions SET wait_key = NULL, run = run + 1
    WHERE execution_id = $1 AND path = $2 AND fence = $3 AND status IN ('cancelled', 'timed_out')"""
_ORPHANS = """
    SELECT c.id FROM executions c JOIN executions p ON p.id = c.parent_execution_id
    WHERE c.parent_execution_id IS NOT NULL AND c.status NOT IN ('completed', 'failed', 'cancelled', 'timed_out')
          AND c.status <> 'cancelling' AND p.status IN ('completed', 'failed', 'cancelled', 'timed_out') LIMIT $1
"""
_LOOK_NOW = "UPDATE step_executions SET look_at = now() WHERE wait_key = $1 AND status = 'waiting'"
_CONTEXT = """SELECT namespace, workflow_id, workflow_version, retries, parameters, principal, traceparent
    FROM executions WHERE id = $1"""
_RESULTS = """SELECT path, status::text, output, error FROM step_executions
    WHERE execution_id = $1 AND path = ANY($2::text[])"""
_PURGE_EXECUTIONS = """
    WITH old AS (
        SELECT e.id FROM workflows w JOIN executions e ON e.workflow_id = w.id
        WHERE w.deleted_at IS NOT NULL AND e.status IN ('completed', 'failed', 'cancelled', 'timed_out') LIMIT $1
    ), journal AS (
        DELETE FROM events WHERE execution_id IN (SELECT id FROM old)
    )
    DELETE FROM executions WHERE id IN (SELECT id FROM old)
"""
_PURGE_WORKFLOWS = """DELETE FROM workflows w WHERE w.deleted_at IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM executions e WHERE e.workflow_id = w.id)"""

MAX_OTHERS = 64


@dataclass(frozen=True, slots=True)
class Held:
    """A step held under a lease; `left_s` is what remains of its timeout, `input` the item of a step that is one."""

    execution_id: UUID
    path: str
    fence: int
    attempt: int
    left_s: float | None = None
    run: int = 0
    item_no: int | None = None
    input: Any = None


@dataclass(frozen=True, slots=True)
class Origin:
    """What every step of an execution has in common."""

    execution_id: UUID
    namespace: str
    workflow_id: UUID
    workflow_version: int
    retries: int
    parameters: dict[str, Any]
    principal: dict[str, Any]
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class DueWait:
    """A step that waits for `key`, to be looked at."""

    execution_id: UUID
    path: str
    kind: str
    fence: int
    key: str
    namespace: str
    principal: dict[str, Any]
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Lapsed:
    """A step whose lease has run out, `owner` being who held it; with none, a step whose timeout has passed."""

    execution_id: UUID
    path: str
    fence: int
    owner: UUID | None


class Queue:
    """The steps of all namespaces, as workers see them."""

    def __init__(self, database: Database | Pinned) -> None:
        self._database = database
        self._last_served = ""

    async def next_in_s(self) -> float | None:
        """Return in how many seconds something is to be done, None when nothing is known of."""
        return await self._database.fetchval(_NEXT)

    async def claim(self, limit: int, owner: UUID, lease_s: float) -> list[tuple[Held, Origin]]:
        """Take up to `limit` ready steps; nobody else gets them while the lease holds.

        Every namespace gets its turn, and of its steps the most urgent come first.
        """
        async with self._database.transaction() as connection:
            rows = await connection.fetch(_CLAIM, self._last_served, limit, owner, lease_s)
            if rows:
                document = _started(rows)
                if await connection.fetchval(_STARTED, document) != len(document["executions"]):
                    raise AssertionError("a claimed step belongs to an execution that has ended")
        if rows:
            self._last_served = max(rows, key=lambda row: row["turn"])["queue"]
        return [(_held(row), _origin(row["execution_id"], row)) for row in rows]

    async def others(self, namespaces: Iterable[str]) -> int:
        """Return how many namespaces besides these have steps that are due."""
        return await self._database.fetchval(_OTHERS, "", MAX_OTHERS, list(namespaces))

    async def renew(self, held: Sequence[Held], owner: UUID, lease_s: float) -> int:
        """Renew the leases that still hold and return how many."""
        return await self._database.execute(
            _RENEW,
            [item.execution_id for item in held],
            [item.path for item in held],
            [item.fence for item in held],
            owner,
            lease_s,
        )

    async def unwanted(self, held: Sequence[Held]) -> set[tuple[UUID, str]]:
        """Return which of the steps are to be stopped: execution and path."""
        rows = await self._database.fetch(
            _UNWANTED_RUNNING, [item.execution_id for item in held], [item.path for item in held]
        )
        return {(row["execution_id"], row["path"]) for row in rows}

    async def orphans(self, limit: int) -> list[UUID]:
        """Return open executions whose parent has ended without them."""
        return [row["id"] for row in await self._database.fetch(_ORPHANS, limit)]

    async def lapsed(self, limit: int) -> list[Lapsed]:
        """Return running steps whose lease has run out, and steps nobody runs whose timeout has passed."""
        rows = await self._database.fetch(_LAPSED, limit)
        return [Lapsed(row["execution_id"], row["path"], row["fence"], row["lease_owner"]) for row in rows]

    async def due_waits(self, limit: int, lease_s: float) -> list[DueWait]:
        """Take waiting steps that are to be looked at; untouched, they are due again after `lease_s`."""
        return [_due(row) for row in await self._database.fetch(_DUE_WAITS, limit, lease_s)]

    async def due_withdrawals(self, limit: int, lease_s: float) -> list[DueWait]:
        """Take cancelled steps that had asked somebody for something."""
        return [_due(row) for row in await self._database.fetch(_DUE_WITHDRAWALS, limit, lease_s)]

    async def look_again(self, wait: DueWait, in_s: float) -> None:
        """Put the next look at a waiting step off."""
        await self._database.execute(_LOOK_AGAIN, wait.execution_id, wait.path, wait.fence, in_s)

    async def mark_withdrawn(self, wait: DueWait) -> None:
        """Note that nothing is left of what the step asked for."""
        await self._database.execute(_WITHDRAWN, wait.execution_id, wait.path, wait.fence)

    async def origin(self, execution_id: UUID) -> Origin | None:
        """Return what the steps of an execution have in common; None when it was deleted."""
        row = await self._database.fetchrow(_CONTEXT, execution_id)
        return None if row is None else _origin(execution_id, row)

    async def results(self, execution_id: UUID, paths: Sequence[str]) -> list[tuple[str, str, Any, Any]]:
        """Return path, status, output and error of steps that have ended."""
        rows = await self._database.fetch(_RESULTS, execution_id, list(paths))
        return [(row["path"], row["status"], row["output"], row["error"]) for row in rows]

    async def purge(self, limit: int) -> int:
        """Delete up to `limit` executions of deleted workflows, then the workflows, and events seen long ago.

        Returns the number of executions deleted.
        """
        async with self._database.transaction() as connection:
            deleted = await connection.execute(_PURGE_EXECUTIONS, limit)
            await connection.execute(_PURGE_WORKFLOWS)
        return deleted


async def look_now(connection: Connection, key: str) -> int:
    """Let whoever waits for `key` be looked at now."""
    return await connection.execute(_LOOK_NOW, key)


def _started(rows: Sequence[Row]) -> dict[str, list[dict[str, Any]]]:
    last: dict[UUID, int] = {}
    events: list[dict[str, Any]] = []

    def tell(execution_id: UUID, kind: str, path: str | None, attempt: int | None) -> None:
        last[execution_id] += 1
        seq = last[execution_id]
        events.append({"execution_id": str(execution_id), "seq": seq, "type": kind, "path": path, "attempt": attempt})

    for row in rows:
        if row["execution_id"] not in last:
            last[row["execution_id"]] = row["last_seq"]
            if row["status"] == "pending":
                tell(row["execution_id"], "execution.started", None, None)
        tell(row["execution_id"], "step.started", row["path"], row["attempt"])
    return {"executions": [{"id": str(key), "last_seq": seq} for key, seq in last.items()], "events": events}


def _held(row: Row) -> Held:
    return Held(
        row["execution_id"],
        row["path"],
        row["fence"],
        row["attempt"],
        row["left_s"],
        row["run"],
        row["item_no"],
        row["input"],
    )


def _origin(execution_id: UUID, row: Row) -> Origin:
    return Origin(
        execution_id,
        row["namespace"],
        row["workflow_id"],
        row["workflow_version"],
        row["retries"],
        row["parameters"],
        row["principal"],
        row["traceparent"],
    )


def _due(row: Row) -> DueWait:
    return DueWait(
        row["execution_id"],
        row["path"],
        row["kind"],
        row["fence"],
        row["wait_key"],
        row["namespace"],
        row["principal"],
        row["traceparent"],
    )
