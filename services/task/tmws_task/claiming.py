"""Claims: agents take tasks, keep them while they work, and give them back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, Final
from uuid import UUID

from tmws_contracts.task import TaskStatus
from tmws_contracts.task_claims import Heartbeat, ProgressReport, Release, TaskClaim, TaskQuestion
from tmws_contracts.task_history import TaskAction
from tmws_shared.auth import Principal
from tmws_shared.database import Database
from tmws_shared.http import remaining_s
from tmws_shared.idempotency import Attempt, Reply
from tmws_task.bells import Bells
from tmws_task.changes import Changes, author_of, check_token
from tmws_task.errors import ClaimLost, IllegalTransition, TaskNotFound
from tmws_task.repository.claims import ClaimRepository, Wish
from tmws_task.repository.tasks import TaskRepository
from tmws_task.repository.views import dump, task_reply
from tmws_task.service import TaskService
from tmws_task.states import LEGAL
from tmws_task.together import Together
from tmws_task.waiting import Waiters

# A ring may be lost, and nobody rings when a claim expires; so long a task may lie ready unseen.
POLL_S: Final = 1.0
# What is left of a request's time for the answer itself.
_ANSWER_S: Final = 1.0
HasLeft = Callable[[], Awaitable[bool]]


class ClaimService:
    """The claims of all namespaces; a caller sees only its own."""

    def __init__(self, database: Database, tasks: TaskService, bells: Bells, waiters: Waiters) -> None:
        self._database = database
        self._tasks = tasks
        self._bells = bells
        self._waiters = waiters
        self._together = Together(self._take, lambda wish: wish.kind)

    async def claim(self, caller: Principal, claim: TaskClaim, has_left: HasLeft) -> bytes:
        """Return the best ready tasks, which are the agent's from now on, as JSON (see Claimed).

        Waits for a first one as long as the claim says; no connection is held meanwhile, and who has left gets none.
        """
        own: list[str] = [caller.persona] if caller.persona else []
        personas = list(dict.fromkeys([*claim.personas, *own]))
        wish = Wish(caller.namespace, claim, personas, author_of(caller))
        until = monotonic() + min(claim.wait_seconds, remaining_s() - _ANSWER_S)
        taken: list[dict[str, Any]] = []
        has_waited = False
        # Whoever listens before looking misses nothing that becomes ready meanwhile.
        while not (has_waited and await has_left()):
            with self._waiters.listening(caller.namespace) as woken:
                taken = await self._look(wish)
                rest_s = until - monotonic()
                if taken or rest_s <= 0:
                    break
                await asyncio.wait({woken}, timeout=min(POLL_S, rest_s))
                has_waited = True
        if taken:
            self._bells.tell_relay()
        return dump({"items": taken})

    async def _look(self, wish: Wish) -> list[dict[str, Any]]:
        if wish.claim.request_id is None:
            return await self._together.do(wish)
        async with self._database.transaction() as connection:
            claims = ClaimRepository(connection, wish.namespace)
            await claims.serialise(wish.claim)
            held = await claims.held(wish)
            return held or (await claims.take([wish]))[0]

    async def _take(self, wishes: Sequence[Wish]) -> list[list[dict[str, Any]]]:
        """Take the tasks for wishes of one kind."""
        async with self._database.connection() as connection:
            return await ClaimRepository(connection, wishes[0].namespace).take(wishes)

    async def renew(self, caller: Principal, task_id: UUID, heartbeat: Heartbeat) -> bytes:
        """Lengthen a claim, also one that has expired and is nobody else's yet; return it as JSON (see Lease).

        Raises:
            TaskNotFound: there is no such task.
            ClaimLost: the claim has ended.
        """
        async with self._database.connection() as connection:
            claims = ClaimRepository(connection, caller.namespace)
            lease = await claims.renew(task_id, heartbeat.claim_token, heartbeat.lease_seconds)
            if lease is None and await TaskRepository(connection, caller.namespace).get(task_id) is None:
                raise TaskNotFound
        if lease is None:
            raise ClaimLost
        return dump(dict(lease))

    async def release(self, caller: Principal, task_id: UUID, release: Release, attempt: Attempt) -> Reply:
        """Give a task back to the queue.

        Raises:
            TaskNotFound: there is no such task.
            ClaimLost: the claim has ended.
        """

        async def work(changes: Changes) -> Reply:
            state = await changes.lock(task_id)
            check_token(state, release.claim_token)
            if not state.is_leased:
                raise ClaimLost
            await changes.move(task_id, state, TaskStatus.PENDING, {"note": release.note})
            return task_reply(await changes.view(task_id))

        return await self._tasks.once(caller, attempt, work)

    async def report(self, caller: Principal, task_id: UUID, report: ProgressReport, attempt: Attempt) -> Reply:
        """Say how far a task is.

        Raises:
            TaskNotFound: there is no such task.
            TaskClaimed, ClaimLost: it is somebody else's.
            IllegalTransition: it is not in progress.
        """

        async def work(changes: Changes) -> Reply:
            state = await changes.lock(task_id)
            check_token(state, report.claim_token)
            if state.status is not TaskStatus.IN_PROGRESS:
                raise IllegalTransition(state.status, LEGAL[state.status])
            values = {"progress": report.progress, "note": report.note}
            await changes.move(task_id, state, state.status, values, TaskAction.PROGRESSED)
            return task_reply(await changes.view(task_id))

        return await self._tasks.once(caller, attempt, work)

    async def ask(self, caller: Principal, task_id: UUID, question: TaskQuestion, attempt: Attempt) -> Reply:
        """Ask a person; the claim ends, and the task waits for an answer.

        Raises:
            TaskNotFound: there is no such task.
            TaskClaimed, ClaimLost: it is somebody else's.
            IllegalTransition: it has ended, or asks something already.
        """

        async def work(changes: Changes) -> Reply:
            state = await changes.lock(task_id)
            check_token(state, question.claim_token)
            if state.status is TaskStatus.INPUT_REQUIRED:
                raise IllegalTransition(state.status, LEGAL[state.status])
            values = {"question": question.question, "answer": None}
            await changes.move(task_id, state, TaskStatus.INPUT_REQUIRED, values)
            return task_reply(await changes.view(task_id))

        return await self._tasks.once(caller, attempt, work)
