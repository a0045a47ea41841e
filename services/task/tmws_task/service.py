"""What can be done with tasks; each method is one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from operator import itemgetter
from typing import Any, TypeVar
from uuid import UUID

from tmws_contracts.persona_figures import PersonaTasks
from tmws_contracts.task import NewTask, TaskChange, TaskCompletion, TaskStats, TaskStatus
from tmws_contracts.task_claims import TaskAnswer, TaskFailure
from tmws_contracts.task_history import TaskAction
from tmws_shared.auth import Principal
from tmws_shared.clock import new_id
from tmws_shared.database import Connection, Database, Row
from tmws_shared.idempotency import Attempt, Reply, do_once
from tmws_shared.pagination import Cursors
from tmws_task.bells import Bells
from tmws_task.changes import Changes, GraphNeeded, author_of, check_output_schema, check_token, draft_of
from tmws_task.errors import IllegalTransition, TaskNotFound
from tmws_task.repository.lists import TaskFilter, TaskLists
from tmws_task.repository.personas import count_for_persona
from tmws_task.repository.tasks import Completion, Creation, TaskRepository
from tmws_task.repository.views import as_document, dump, task_reply
from tmws_task.states import LEGAL, TaskState
from tmws_task.together import Together

_COLUMN_OF = {"metadata": "details"}
Result = TypeVar("Result")
Work = Callable[[Changes], Awaitable[Result]]


class TaskService:
    """The tasks of all namespaces; a caller sees only its own."""

    def __init__(self, database: Database, cursors: Cursors, bells: Bells) -> None:
        self._database = database
        self._cursors = cursors
        self._bells = bells
        self._completions = Together(self._complete_claimed, lambda completion: completion.namespace)
        self._creations = Together(self._create_alone, lambda creation: (creation.namespace, creation.author))

    async def create(self, caller: Principal, task: NewTask, attempt: Attempt) -> Reply:
        """Create a task.

        Raises:
            UnknownTask: `parent_id` or `depends_on` names no task of the namespace.
            InvalidRequest: its `output_schema` cannot be used.
        """
        check_output_schema(task.output_schema)

        async def work(changes: Changes) -> Reply:
            await changes.need_parent(task.parent_id)
            unmet = await changes.count_unmet(task.depends_on)
            (row,) = await changes.add([draft_of(task, new_id(), unmet)])
            return task_reply(row, 201, has_location=True)

        if attempt.key is None and task.parent_id is None and not task.depends_on:
            row = await self._creations.do(Creation(caller.namespace, author_of(caller), draft_of(task, new_id(), 0)))
            answer = task_reply(row, 201, has_location=True)
        else:
            answer = await self.once(caller, attempt, work, has_graph=bool(task.depends_on))
        self._bells.ring(caller.namespace)
        return answer

    async def _create_alone(self, creations: Sequence[Creation]) -> list[Row]:
        """Create tasks of a namespace and an author that hang on no other ones."""
        first = creations[0]
        async with self._database.connection() as connection:
            tasks = TaskRepository(connection, first.namespace)
            rows = await tasks.insert([creation.draft for creation in creations], first.author)
        by_id = {row["id"]: row for row in rows}
        return [by_id[str(creation.draft.id)] for creation in creations]

    async def get(self, caller: Principal, task_id: UUID) -> Reply:
        """Return a task.

        Raises:
            TaskNotFound: there is none.
        """
        async with self._database.connection() as connection:
            row = await TaskRepository(connection, caller.namespace).get(task_id)
        if row is None:
            raise TaskNotFound
        return task_reply(row)

    async def list_page(self, caller: Principal, wanted: TaskFilter, cursor: str | None, limit: int) -> bytes:
        """Return a page of tasks as JSON.

        Raises:
            MalformedRequest: the cursor belongs to another list.
        """
        context = {"list": "tasks", "namespace": caller.namespace, "filter": wanted}
        after = self._cursors.decode(cursor, **context)
        async with self._database.connection() as connection:
            rows = await TaskLists(connection, caller.namespace).page(wanted, after, limit + 1)
        shown, next_cursor = self._cursors.cut(rows, limit, itemgetter("position"), **context)
        return dump({"items": [_listed(row) for row in shown], "next_cursor": next_cursor})

    async def update(
        self, caller: Principal, task_id: UUID, change: TaskChange, if_match: str | None, *, is_patch: bool = False
    ) -> Reply:
        """Set the fields that `change` was given; a patch merges metadata.

        Raises:
            TaskNotFound: there is none.
            PreconditionFailed: it is not the version that `if_match` names.
            IllegalTransition, DependenciesOpen, TaskClaimed: the status cannot be reached.
            DependencyCycle, ParentCycle: it would come to depend on itself, or to lie under itself.
        """
        values = given(change)

        async def work(changes: Changes) -> Reply:
            await changes.change(task_id, values, if_match, is_patch=is_patch)
            return task_reply(await changes.view(task_id))

        return await self._alone(caller, work)

    async def complete(
        self, caller: Principal, task_id: UUID, completion: TaskCompletion, attempt: Attempt, if_match: str | None
    ) -> Reply:
        """Complete a task; completing it again changes nothing.

        Raises:
            TaskNotFound: there is none.
            TaskClaimed, ClaimLost: it is somebody else's.
            DependenciesOpen: something it depends on is not completed.
            IllegalTransition: it has failed or was cancelled.
            ResultInvalid: the result does not satisfy its schema; it stays claimed.
        """
        if attempt.key is None and if_match is None and completion.claim_token is not None:
            row = await self._completions.do(
                Completion(caller.namespace, task_id, completion.claim_token, completion.result, author_of(caller))
            )
            if row is not None:
                self._bells.tell_relay()
                return task_reply(row)

        async def work(changes: Changes) -> Reply:
            state = await changes.lock(task_id, if_match)
            await complete(changes, task_id, state, completion)
            return task_reply(await changes.view(task_id))

        return await self.once(caller, attempt, work)

    async def _complete_claimed(self, completions: Sequence[Completion]) -> list[Row | None]:
        """Complete claimed tasks of a namespace; None stands for those to which there is more."""
        async with self._database.connection() as connection:
            rows = await TaskRepository(connection, completions[0].namespace).complete(completions)
        # Who asks twice is told by the other way what became of it.
        return [rows.pop(str(completion.task_id), None) for completion in completions]

    async def fail(self, caller: Principal, task_id: UUID, failure: TaskFailure, attempt: Attempt) -> Reply:
        """Say that a task cannot be done.

        Raises:
            TaskNotFound: there is none.
            TaskClaimed, ClaimLost: it is somebody else's.
            IllegalTransition: it has ended.
        """

        async def work(changes: Changes) -> Reply:
            state = await changes.lock(task_id)
            await fail(changes, task_id, state, failure)
            return task_reply(await changes.view(task_id))

        return await self.once(caller, attempt, work)

    async def turn(
        self, caller: Principal, task_id: UUID, wanted: TaskStatus, attempt: Attempt, if_match: str | None
    ) -> Reply:
        """Cancel a task, whoever has claimed it; or reopen one that failed or was cancelled.

        Raises:
            TaskNotFound: there is none.
            IllegalTransition: it cannot become that.
        """

        async def work(changes: Changes) -> Reply:
            state = await changes.lock(task_id, if_match)
            await turn(changes, task_id, state, wanted)
            return task_reply(await changes.view(task_id))

        return await self.once(caller, attempt, work)

    async def answer(self, caller: Principal, task_id: UUID, answer: TaskAnswer, attempt: Attempt) -> Reply:
        """Answer what a task asks; it goes back to the queue.

        Raises:
            TaskNotFound: there is none.
            IllegalTransition: it does not ask anything.
        """

        async def work(changes: Changes) -> Reply:
            state = await changes.lock(task_id)
            if state.status is not TaskStatus.INPUT_REQUIRED:
                raise IllegalTransition(state.status, LEGAL[state.status])
            values: dict[str, Any] = {"answer": answer.answer, "lease_losses": 0}
            await changes.move(task_id, state, TaskStatus.PENDING, values, TaskAction.ANSWERED)
            return task_reply(await changes.view(task_id))

        return await self.once(caller, attempt, work)

    async def delete(self, caller: Principal, task_id: UUID, if_match: str | None) -> None:
        """Delete a task.

        Raises:
            TaskNotFound: there is none.
            TaskHasDependents: unfinished tasks depend on it.
        """

        async def work(changes: Changes) -> None:
            await changes.delete(task_id, if_match)

        await self._alone(caller, work)

    async def stats(self, caller: Principal) -> TaskStats:
        """Count the namespace's tasks."""
        async with self._database.connection() as connection:
            finished, open_ones = await TaskLists(connection, caller.namespace).counts()
        counted = {TaskStatus(row["status"]): int(row["tasks"]) for row in [*finished, *open_ones]}
        return TaskStats(
            by_status=dict.fromkeys(TaskStatus, 0) | counted,
            ready=sum(row["ready"] for row in open_ones),
            overdue=sum(row["overdue"] for row in open_ones),
        )

    async def stats_of_persona(self, caller: Principal, persona_id: str) -> PersonaTasks:
        """Count the tasks of a persona."""
        async with self._database.connection() as connection:
            return await count_for_persona(connection, caller.namespace, persona_id)

    async def once(self, caller: Principal, attempt: Attempt, work: Work[Reply], *, has_graph: bool = False) -> Reply:
        """Do the work once for an Idempotency-Key; if it reaches other tasks, again with the graph for itself."""

        async def on(connection: Connection, *, has_it: bool) -> Reply:
            return await work(await _changes(connection, caller, has_graph=has_it))

        try:
            answer = await do_once(self._database, attempt, lambda connection: on(connection, has_it=has_graph))
        except GraphNeeded:
            answer = await do_once(self._database, attempt, lambda connection: on(connection, has_it=True))
        self._bells.ring(caller.namespace)
        return answer

    async def _alone(self, caller: Principal, work: Work[Result]) -> Result:
        try:
            done = await self._in_transaction(caller, work, has_graph=False)
        except GraphNeeded:
            done = await self._in_transaction(caller, work, has_graph=True)
        self._bells.ring(caller.namespace)
        return done

    async def _in_transaction(self, caller: Principal, work: Work[Result], *, has_graph: bool) -> Result:
        async with self._database.transaction() as connection:
            return await work(await _changes(connection, caller, has_graph=has_graph))


async def _changes(connection: Connection, caller: Principal, *, has_graph: bool) -> Changes:
    changes = Changes(connection, caller, has_graph=has_graph)
    if has_graph:
        await changes.graph.serialise()
    return changes


async def complete(changes: Changes, task_id: UUID, state: TaskState, completion: TaskCompletion) -> None:
    """Complete a locked task; see `TaskService.complete`."""
    check_token(state, completion.claim_token)
    if state.status is not TaskStatus.COMPLETED:
        await changes.move(task_id, state, TaskStatus.COMPLETED, {"result": completion.result})


async def fail(changes: Changes, task_id: UUID, state: TaskState, failure: TaskFailure) -> None:
    """Fail a locked task; see `TaskService.fail`."""
    check_token(state, failure.claim_token)
    if state.status is not TaskStatus.FAILED:
        await changes.move(task_id, state, TaskStatus.FAILED, {"error": failure.error})


async def turn(changes: Changes, task_id: UUID, state: TaskState, wanted: TaskStatus) -> None:
    """Cancel or reopen a locked task; one that is cancelled already stays as it is."""
    if wanted is TaskStatus.PENDING and state.status not in (TaskStatus.FAILED, TaskStatus.CANCELLED):
        raise IllegalTransition(state.status, tuple(one for one in LEGAL[state.status] if one is not wanted))
    if state.status is not wanted:
        await changes.move(task_id, state, wanted, {})


def given(change: TaskChange) -> dict[str, Any]:
    """Return the fields the caller named, by column."""
    values = {name: getattr(change, name) for name in change.model_fields_set}
    return {_COLUMN_OF.get(name, name): value for name, value in values.items()}


def _listed(row: Row) -> dict[str, Any]:
    document = as_document(row)
    del document["position"]
    return document
