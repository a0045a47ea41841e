"""Approvals: asked for by steps, decided by people; every query of a caller stays in one namespace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tmws_contracts.approvals import Approval, ApprovalStatus
from tmws_contracts.persona_figures import PersonaWorkflows
from tmws_shared.database import Connection, Row
from tmws_shared.pagination import Conditions, Keyset

_VIEW = """
    a.id, a.namespace, a.status::text, a.workflow_id, a.workflow_version, a.execution_id, a.path AS step, a.prompt,
    a.show, a.digest, a.approvers, a.allow_self, a.requested_by, a.created_at, a.expires_at, a.decided_by, a.decided_at,
    a.comment
"""
# An approval can be decided while its step waits for it: then the step is still there to hear of it.
_IS_OPEN = """a.status = 'pending' AND coalesce(a.expires_at > now(), true) AND EXISTS (
    SELECT 1 FROM step_executions s WHERE s.execution_id = a.execution_id AND s.path = a.path
    AND s.status = 'waiting' AND s.wait_key = 'approval:' || a.id)"""
_GET = f"SELECT {_VIEW} FROM approvals a WHERE a.namespace = $1 AND a.id = $2"  # noqa: S608 -- our own columns
_LOCK = f"""SELECT {_VIEW}, {_IS_OPEN} AS is_open FROM approvals a
    WHERE a.namespace = $1 AND a.id = $2 FOR NO KEY UPDATE"""  # noqa: S608 -- our own columns
_DECIDE = f"""
    UPDATE approvals a SET status = $2::text::approval_status, decided_by = $3, comment = $4, decided_at = now()
    WHERE a.id = $1 RETURNING {_VIEW}
"""  # noqa: S608 -- our own columns
# Whoever started the first of nested executions asks for the approvals of all of them.
_ASKING = """
    SELECT e.namespace, e.workflow_id, e.workflow_version, s.run,
           coalesce(root.principal, e.principal) ->> 'subject' AS requested_by
    FROM executions e JOIN step_executions s ON s.execution_id = e.id AND s.path = $2
    LEFT JOIN executions root ON root.id = e.root_execution_id
    WHERE e.id = $1
"""
_INSERT = """
    INSERT INTO approvals (id, namespace, execution_id, path, run, workflow_id, workflow_version, prompt, show, digest,
                           approvers, allow_self, requested_by, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, now() + make_interval(secs => $14))
    ON CONFLICT (execution_id, path, run) DO NOTHING
"""
_OF_STEP = "SELECT id FROM approvals WHERE execution_id = $1 AND path = $2 AND run = $3"
_EXPIRE = """UPDATE approvals SET status = 'expired', decided_at = now()
    WHERE id = $1 AND status = 'pending' AND expires_at <= now()"""
_OUTCOME = "SELECT status::text, decided_by, comment, decided_at FROM approvals WHERE id = $1"
_WITHDRAW = "UPDATE approvals SET status = 'withdrawn', decided_at = now() WHERE id = $1 AND status = 'pending'"
_NAMING = f"""SELECT count(*) AS approvals_waiting, count(DISTINCT a.execution_id) AS executions_waiting
    FROM approvals a WHERE a.namespace = $1 AND $2 = ANY(a.approvers) AND {_IS_OPEN}"""  # noqa: S608 -- our own columns
_NEWEST = Keyset((("a.created_at", "timestamptz"), ("a.id", "uuid")), descending=True)


@dataclass(frozen=True, slots=True)
class Asking:
    """The step that asks: where it belongs, which run it is, who started it all."""

    namespace: str
    workflow_id: UUID
    workflow_version: int
    run: int
    requested_by: str


@dataclass(frozen=True, slots=True)
class NewApproval:
    """What a step asks; `expires_in_s` None for never."""

    id: UUID
    execution_id: UUID
    path: str
    prompt: str
    show: Any
    digest: str
    approvers: list[str] | None
    allow_self: bool
    expires_in_s: float | None


@dataclass(frozen=True, slots=True)
class ApprovalFilter:
    """What a list is to show; pending approvals that nothing waits for any more are never shown."""

    status: tuple[ApprovalStatus, ...] = ()
    execution_id: UUID | None = None


class ApprovalRepository:
    """The approvals of one namespace, through one connection."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    async def get(self, approval_id: UUID) -> Approval | None:
        """Return the approval, or None."""
        row = await self._connection.fetchrow(_GET, self._namespace, approval_id)
        return None if row is None else _approval(row)

    async def count_for_persona(self, persona_id: str) -> PersonaWorkflows:
        """Count what waits for the decision of a persona."""
        row = await self._connection.fetchrow(_NAMING, self._namespace, persona_id)
        return PersonaWorkflows.model_validate(dict(row or {}))

    async def lock(self, approval_id: UUID) -> tuple[Approval, bool] | None:
        """Hold the approval until the transaction ends; tell whether it can be decided."""
        row = await self._connection.fetchrow(_LOCK, self._namespace, approval_id)
        if row is None:
            return None
        values = dict(row)
        is_open = values.pop("is_open")
        return Approval.model_validate(values), is_open

    async def decide(self, approval_id: UUID, status: ApprovalStatus, by: str, comment: str | None) -> Approval:
        """Write down the decision on a locked approval."""
        row = await self._connection.fetchrow(_DECIDE, approval_id, status, by, comment)
        if row is None:
            raise LookupError("a locked approval is there")
        return _approval(row)

    async def list_page(
        self, wanted: ApprovalFilter, after: Sequence[str] | None, limit: int
    ) -> list[tuple[Approval, list[str]]]:
        """Return up to `limit` approvals, newest first, each with its position."""
        where = Conditions(self._namespace)
        where.add(f"(a.status <> 'pending' OR ({_IS_OPEN}))")
        where.add_given("a.status = ANY({}::text[]::approval_status[])", list(wanted.status) or None)
        where.add_given("a.execution_id = {}", wanted.execution_id)
        where.add_given(_NEWEST.beyond("{}"), after)
        where.values.append(limit)
        sql = f"""SELECT {_VIEW}, {_NEWEST.position} AS position FROM approvals a
            WHERE a.namespace = $1 {where.sql()}
            ORDER BY {_NEWEST.order_by} LIMIT ${len(where.values)}"""  # noqa: S608 -- fragments of this file, values are bound
        rows = [dict(row) for row in await self._connection.fetch(sql, *where.values)]
        return [(Approval.model_validate(row), position) for row in rows for position in [row.pop("position")]]


async def asking(connection: Connection, execution_id: UUID, path: str) -> Asking:
    """Return what is known of a step that asks.

    Raises:
        LookupError: its execution was deleted.
    """
    row = await connection.fetchrow(_ASKING, execution_id, path)
    if row is None:
        raise LookupError("the execution was deleted")
    return Asking(row["namespace"], row["workflow_id"], row["workflow_version"], row["run"], row["requested_by"])


async def request_approval(connection: Connection, asked: Asking, approval: NewApproval) -> tuple[UUID, bool]:
    """Ask, unless this run of the step has asked before; return which approval it is, and whether it is new."""
    added = await connection.execute(
        _INSERT,
        approval.id,
        asked.namespace,
        approval.execution_id,
        approval.path,
        asked.run,
        asked.workflow_id,
        asked.workflow_version,
        approval.prompt,
        approval.show,
        approval.digest,
        approval.approvers,
        approval.allow_self,
        asked.requested_by,
        approval.expires_in_s,
    )
    if added:
        return approval.id, True
    return await connection.fetchval(_OF_STEP, approval.execution_id, approval.path, asked.run), False


async def outcome_of(connection: Connection, approval_id: UUID) -> Row | None:
    """Return status, decided_by, comment and decided_at of an approval; one whose time is over expires now."""
    await connection.execute(_EXPIRE, approval_id)
    return await connection.fetchrow(_OUTCOME, approval_id)


async def withdraw_approval(connection: Connection, approval_id: UUID) -> None:
    """Take an approval back, unless it was decided."""
    await connection.execute(_WITHDRAW, approval_id)


def _approval(row: Row) -> Approval:
    return Approval.model_validate(dict(row))
