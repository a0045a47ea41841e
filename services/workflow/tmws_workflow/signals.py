"""Sending signals to executions."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from tmws_contracts.approvals import NewSignal
from tmws_contracts.workflow import ExecutionStatus
from tmws_shared.auth import Principal
from tmws_shared.clock import new_id
from tmws_shared.database import Connection, Database
from tmws_shared.idempotency import Attempt, Reply, do_once
from tmws_shared.replies import reply
from tmws_workflow.engine import FINAL_EXECUTION
from tmws_workflow.errors import ExecutionEnded, ExecutionNotFound, SignalsPending
from tmws_workflow.repository.queue import look_now
from tmws_workflow.repository.signals import NewSignalRow, SignalRepository

MAX_WAITING = 1_000
_ENDING = FINAL_EXECUTION | {ExecutionStatus.CANCELLING}


class SignalService:
    """Takes signals for executions; `ring` tells the workers of one."""

    def __init__(self, database: Database, ring: Callable[[], None]) -> None:
        self._database = database
        self._ring = ring

    async def send(self, caller: Principal, execution_id: UUID, signal: NewSignal, attempt: Attempt) -> Reply:
        """Keep a signal until a step takes it.

        Raises:
            ExecutionNotFound: there is none.
            ExecutionEnded: nothing in it will wait any more.
            SignalsPending: too many lie there already.
        """

        async def work(connection: Connection) -> Reply:
            signals = SignalRepository(connection, caller.namespace)
            status = await signals.execution_status(execution_id)
            if status is None:
                raise ExecutionNotFound
            if ExecutionStatus(status) in _ENDING:
                raise ExecutionEnded(f"The execution is {status}.")
            if await signals.count_waiting(execution_id) >= MAX_WAITING:
                raise SignalsPending(f"{MAX_WAITING} signals wait to be taken.")
            row = NewSignalRow(new_id(), execution_id, signal.name, signal.payload, caller.subject)
            kept = await signals.insert(row)
            await look_now(connection, f"signal:{execution_id}:{signal.name}")
            return reply(kept, 202)

        answer = await do_once(self._database, attempt, work)
        self._ring()
        return answer
