"""What people can do with approvals."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from tmws_contracts.approvals import Approval, ApprovalDecision, ApprovalStatus
from tmws_contracts.common import Page
from tmws_contracts.persona_figures import PersonaWorkflows
from tmws_shared.auth import Principal
from tmws_shared.database import Connection, Database
from tmws_shared.events import append_event
from tmws_shared.idempotency import Attempt, Reply, do_once
from tmws_shared.pagination import Cursors
from tmws_shared.replies import reply
from tmws_workflow.errors import (
    ApprovalChanged,
    ApprovalDecided,
    ApprovalNotFound,
    ApprovalNotOpen,
    NotAnApprover,
)
from tmws_workflow.repository.approvals import ApprovalFilter, ApprovalRepository
from tmws_workflow.repository.queue import look_now


class ApprovalService:
    """The approvals of all namespaces; a caller sees only its own. `ring` tells the workers of a decision."""

    def __init__(self, database: Database, cursors: Cursors, ring: Callable[[], None]) -> None:
        self._database = database
        self._cursors = cursors
        self._ring = ring

    async def list_page(
        self, caller: Principal, wanted: ApprovalFilter, cursor: str | None, limit: int
    ) -> Page[Approval]:
        """Return a page of approvals.

        Raises:
            MalformedRequest: the cursor belongs to another list.
        """
        context = {"list": "approvals", "namespace": caller.namespace, "filter": wanted}
        after = self._cursors.decode(cursor, **context)
        async with self._database.connection() as connection:
            found = await ApprovalRepository(connection, caller.namespace).list_page(wanted, after, limit + 1)
        return self._cursors.page(found, limit, **context)

    async def stats_of_persona(self, caller: Principal, persona_id: str) -> PersonaWorkflows:
        """Count what waits for the decision of a persona."""
        async with self._database.connection() as connection:
            return await ApprovalRepository(connection, caller.namespace).count_for_persona(persona_id)

    async def get(self, caller: Principal, approval_id: UUID) -> Approval:
        """Return an approval.

        Raises:
            ApprovalNotFound: there is none.
        """
        async with self._database.connection() as connection:
            approval = await ApprovalRepository(connection, caller.namespace).get(approval_id)
        if approval is None:
            raise ApprovalNotFound
        return approval

    async def decide(
        self,
        caller: Principal,
        approval_id: UUID,
        status: ApprovalStatus,
        decision: ApprovalDecision,
        attempt: Attempt,
    ) -> Reply:
        """Decide, once and for all; the step that waits goes on.

        Raises:
            ApprovalNotFound: there is none.
            NotAnApprover: the caller is none of those who may.
            ApprovalDecided: somebody did so before.
            ApprovalNotOpen: its step does not wait for it.
            ApprovalChanged: the digest is that of something else.
        """

        async def work(connection: Connection) -> Reply:
            approvals = ApprovalRepository(connection, caller.namespace)
            found = await approvals.lock(approval_id)
            if found is None:
                raise ApprovalNotFound
            _check(caller, *found, decision)
            decided = await approvals.decide(approval_id, status, caller.subject, decision.comment)
            data = {"execution_id": str(decided.execution_id), "step": decided.step, "by": caller.subject}
            await append_event(connection, f"approval.{status}", caller.namespace, str(approval_id), data)
            await look_now(connection, f"approval:{approval_id}")
            return reply(decided)

        answer = await do_once(self._database, attempt, work)
        self._ring()
        return answer


def _check(caller: Principal, approval: Approval, is_open: bool, decision: ApprovalDecision) -> None:
    if approval.approvers is not None and caller.persona not in approval.approvers:
        raise NotAnApprover("Only the personas listed in approvers may decide.")
    if not approval.allow_self and caller.subject == approval.requested_by:
        raise NotAnApprover("Somebody else than who started the execution must decide.")
    if approval.status in (ApprovalStatus.APPROVED, ApprovalStatus.REJECTED):
        raise ApprovalDecided(approval.status)
    if not is_open:
        raise ApprovalNotOpen("Nothing waits for it now.")
    if decision.digest != approval.digest:
        raise ApprovalChanged("Read it again: its digest is another one.")
