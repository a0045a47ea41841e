"""Cancelling, pausing, resuming and retrying executions; each method is one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NoReturn
from uuid import UUID

from tmws_contracts.workflow import Cancellation, Execution, ExecutionStatus, StepStatus
from tmws_contracts.workflow_control import RetryRequest
from tmws_shared.auth import Principal
from tmws_shared.database import Connection, Database
from tmws_shared.idempotency import Attempt, Reply, do_once
from tmws_shared.replies import reply
from tmws_workflow.cancelling import cancel_all_of, cancel_executions
from tmws_workflow.changing import change_executions, change_whole
from tmws_workflow.engine import OUTPUT_STEP, Advance
from tmws_workflow.engine.control import PAUSABLE, RETRYABLE, pause, resume, retry
from tmws_workflow.errors import (
    ExecutionStateConflict,
    UnknownStep,
    WithdrawalPending,
)
from tmws_workflow.lookups import find_execution, find_workflow
from tmws_workflow.plans import Plans

_ENDING = frozenset({ExecutionStatus.CANCELLING, ExecutionStatus.CANCELLED})
_WITHDRAWN_LATER = frozenset({StepStatus.CANCELLED, StepStatus.TIMED_OUT})


class ExecutionControl:
    """What people do to an execution. `ring` tells the workers of new work."""

    def __init__(self, database: Database, plans: Plans, ring: Callable[[], None]) -> None:
        self._database = database
        self._plans = plans
        self._ring = ring

    async def cancel_all(self, caller: Principal, workflow_id: UUID, attempt: Attempt) -> Reply:
        """Cancel every execution of a workflow that has not ended.

        Raises:
            WorkflowNotFound: there is none.
        """

        async def work(connection: Connection) -> Reply:
            await find_workflow(connection, caller, workflow_id)
            reached = await cancel_all_of(connection, self._plans, caller.namespace, workflow_id)
            return reply(Cancellation(workflow_id=workflow_id, executions=reached))

        answer = await do_once(self._database, attempt, work)
        self._ring()
        return answer

    async def cancel(self, caller: Principal, execution_id: UUID, attempt: Attempt) -> Reply:
        """Cancel an execution: what is queued ends at once, what runs is stopped, what completed is undone.

        Raises:
            ExecutionNotFound: there is none.
            ExecutionStateConflict: it has ended otherwise.
        """

        async def change(connection: Connection, execution: Execution) -> None:
            if not await cancel_executions(connection, self._plans, [execution_id]):
                now = await find_execution(connection, caller, execution_id)
                if now.status not in _ENDING and now.finished_at is not None:
                    _refuse(now, "has ended and cannot be cancelled")

        return await self._once(caller, execution_id, attempt, change)

    async def pause(self, caller: Principal, execution_id: UUID, attempt: Attempt) -> Reply:
        """Let nothing new start in an execution; what runs or waits goes on.

        Raises:
            ExecutionNotFound: there is none.
            ExecutionStateConflict: it has ended, or is being cancelled.
        """

        async def change(connection: Connection, execution: Execution) -> None:
            if not await change_executions(connection, self._plans, [execution_id], pause):
                now = await find_execution(connection, caller, execution_id)
                if now.status is not ExecutionStatus.PAUSED:
                    _refuse(now, f"cannot be paused; it would have to be {_words(PAUSABLE)}")

        return await self._once(caller, execution_id, attempt, change)

    async def resume(self, caller: Principal, execution_id: UUID, attempt: Attempt) -> Reply:
        """Let a paused execution go on.

        Raises:
            ExecutionNotFound: there is none.
            ExecutionStateConflict: it has ended, or is being cancelled.
        """

        async def change(connection: Connection, execution: Execution) -> None:
            if not await change_executions(connection, self._plans, [execution_id], resume):
                now = await find_execution(connection, caller, execution_id)
                if now.status not in PAUSABLE:
                    _refuse(now, "cannot be resumed; it would have to be paused")

        return await self._once(caller, execution_id, attempt, change)

    async def retry(self, caller: Principal, execution_id: UUID, wanted: RetryRequest, attempt: Attempt) -> Reply:
        """Run an execution that did not end well again: what did not succeed, and a named step with all after it.

        Raises:
            ExecutionNotFound: there is none.
            ExecutionStateConflict: it has not ended, or it has completed.
            UnknownStep: the named step is not one of its definition.
            WithdrawalPending: what its steps asked others for has not been withdrawn yet.
        """

        def try_again(advance: Advance) -> bool:
            if not advance.plan.steps:
                raise ExecutionStateConflict("Its definition was saved by a release that understood more.")
            if wanted.from_step is not None and _is_unknown(advance, wanted.from_step):
                raise UnknownStep.of("/from_step", "must be the id of a step of the definition")
            is_retryable = advance.execution.status in RETRYABLE
            if is_retryable and any(s.wait_key and s.status in _WITHDRAWN_LATER for s in advance.steps.values()):
                raise WithdrawalPending("Ask again in a few seconds.", headers={"Retry-After": "3"})
            return retry(advance, wanted.from_step)

        async def change(connection: Connection, execution: Execution) -> None:
            if not await change_whole(connection, self._plans, execution_id, try_again):
                now = await find_execution(connection, caller, execution_id)
                _refuse(now, f"cannot be retried; it would have to be {_words(RETRYABLE)}")

        return await self._once(caller, execution_id, attempt, change)

    async def _once(
        self,
        caller: Principal,
        execution_id: UUID,
        attempt: Attempt,
        change: Callable[[Connection, Execution], Awaitable[None]],
    ) -> Reply:
        async def work(connection: Connection) -> Reply:
            await change(connection, await find_execution(connection, caller, execution_id))
            return reply(await find_execution(connection, caller, execution_id))

        answer = await do_once(self._database, attempt, work)
        self._ring()
        return answer


def _is_unknown(advance: Advance, step: str) -> bool:
    return step == OUTPUT_STEP or step not in advance.plan.steps


def _refuse(execution: Execution, what: str) -> NoReturn:
    raise ExecutionStateConflict(f"The execution is {execution.status}: it {what}.", current=execution.status)


def _words(statuses: frozenset[ExecutionStatus]) -> str:
    return " or ".join(sorted(statuses))
