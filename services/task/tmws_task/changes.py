"""What may be done to tasks within a transaction: the rules between a request and the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

from tmws_contracts.common import JsonObject, check_metadata
from tmws_contracts.task import NewTask, TaskStatus
from tmws_contracts.task_history import TaskAction
from tmws_shared.auth import Principal
from tmws_shared.database import Connection, Row
from tmws_shared.json_schema import SchemaError, check_schema, check_value
from tmws_shared.problems import InvalidRequest
from tmws_shared.replies import match_version
from tmws_task.errors import (
    ClaimLost,
    DependenciesOpen,
    DependencyCycle,
    IllegalTransition,
    ParentCycle,
    ResultInvalid,
    TaskClaimed,
    TaskHasDependents,
    TaskNotFound,
    UnknownTask,
)
from tmws_task.merging import merge_patch
from tmws_task.repository.graph import GraphRepository
from tmws_task.repository.tasks import Author, Draft, TaskRepository
from tmws_task.states import FINISHED, LEGAL, TaskState, action_of, consequences


class GraphNeeded(Exception):
    """The change reaches other tasks: it has to be done again by one who has the graph for itself."""


class Changes:
    """Changes tasks of the caller's namespace in one transaction.

    Who `has_graph` is the only one in the namespace that changes what tasks depend on; see `GraphNeeded`.
    """

    def __init__(self, connection: Connection, caller: Principal, *, has_graph: bool) -> None:
        self.tasks = TaskRepository(connection, caller.namespace)
        self.graph = GraphRepository(connection, caller.namespace)
        self._author = author_of(caller)
        self._has_graph = has_graph

    async def view(self, task_id: UUID) -> Row:
        """Return the task's view.

        Raises:
            TaskNotFound: there is none.
        """
        row = await self.tasks.get(task_id)
        if row is None:
            raise TaskNotFound
        return row

    async def add(self, drafts: Sequence[Draft]) -> list[Row]:
        """Add tasks whose parents and dependencies are known to exist; return their views in any order."""
        rows = await self.tasks.insert(drafts, self._author)
        waiting = [draft.id for draft in drafts if draft.depends_on]
        if waiting:
            await self.graph.inherit(waiting)
        return rows

    async def lock(self, task_id: UUID, if_match: str | None = None) -> TaskState:
        """Lock the task until the transaction ends.

        Raises:
            TaskNotFound: there is none.
            PreconditionFailed: it is not the version that `if_match` names.
        """
        state = await self.tasks.lock(task_id)
        if state is None:
            raise TaskNotFound
        match_version(if_match, state.version)
        return state

    async def change(
        self, task_id: UUID, values: dict[str, Any], if_match: str | None = None, *, is_patch: bool = False
    ) -> None:
        """Set fields of a task; a patch merges its metadata.

        Raises:
            TaskNotFound: there is none.
            PreconditionFailed: it is not the version that `if_match` names.
            UnknownTask: a parent or a dependency does not exist.
            DependencyCycle, ParentCycle: it would come to depend on itself, or to lie under itself.
            IllegalTransition, DependenciesOpen, TaskClaimed: its status cannot become that.
            GraphNeeded: it is to be done again.
        """
        values = dict(values)
        depends_on: list[UUID] | None = values.pop("depends_on", None)
        unmet = 0 if depends_on is None else await self._check_dependencies(task_id, depends_on)
        state = await self.lock(task_id, if_match)
        check_output_schema(values.get("output_schema"))
        if values.get("parent_id") is not None:
            await self._check_parent(task_id, values["parent_id"])
        if is_patch and "details" in values:
            values["details"] = _merged(state.metadata, values["details"])
        before: list[UUID] = []
        if depends_on is not None:
            before = await self.graph.set_dependencies(task_id, depends_on)
            values["unmet"] = unmet
            state = replace(state, unmet=unmet)
        wanted: TaskStatus = values.get("status", state.status)
        if wanted is not state.status and wanted is not TaskStatus.CANCELLED and state.is_leased:
            raise TaskClaimed(state.claimed_by)
        await self.move(task_id, state, wanted, values, is_moved=depends_on is not None)
        if before:
            await self.graph.inherit(before)

    async def move(
        self,
        task_id: UUID,
        state: TaskState,
        wanted: TaskStatus,
        values: dict[str, Any],
        action: TaskAction | None = None,
        *,
        is_moved: bool = False,
    ) -> None:
        """Take a locked task to a status, with other values, and everything that hangs on it along.

        `is_moved`: it depends on others than before.

        Raises:
            IllegalTransition, DependenciesOpen: it cannot become that.
            ResultInvalid: its result does not satisfy its schema.
            GraphNeeded: it is to be done again.
        """
        is_turned = wanted is not state.status
        is_closed_or_opened = (wanted in FINISHED) is not (state.status in FINISHED)
        if is_turned:
            await self._check_transition(task_id, state, wanted)
        reaches_others = is_moved or (state.unmet > 0 and (is_closed_or_opened or "priority" in values))
        if reaches_others and not self._has_graph:
            raise GraphNeeded
        if is_turned and wanted is TaskStatus.COMPLETED:
            check_result(values.get("output_schema", state.output_schema), values.get("result"))
            await self.graph.release_dependents(task_id)
        changed = {**values, "status": wanted, **consequences(state.status, wanted)} if is_turned else values
        if changed:
            await self.tasks.update(task_id, changed, action or action_of(state.status, wanted), self._author)
        if reaches_others:
            await self.graph.inherit([task_id, *await self.graph.depends_on(task_id)])
        elif "priority" in values or state.status in FINISHED:
            await self.graph.inherit([task_id])

    async def delete(self, task_id: UUID, if_match: str | None = None) -> None:
        """Delete a task.

        Raises:
            TaskNotFound: there is none.
            TaskHasDependents: unfinished tasks depend on it.
            GraphNeeded: it is to be done again.
        """
        state = await self.lock(task_id, if_match)
        dependents = await self.graph.unfinished_dependents(task_id)
        if dependents:
            raise TaskHasDependents(dependents)
        if state.unmet and not self._has_graph:
            raise GraphNeeded
        above = await self.graph.depends_on(task_id) if state.unmet else []
        await self.tasks.delete(task_id)
        if above:
            await self.graph.inherit(above)

    async def count_unmet(self, depends_on: Sequence[UUID]) -> int:
        """Return how many of these are not completed; they stay so until the transaction ends.

        Raises:
            UnknownTask: one does not exist.
        """
        if not depends_on:
            return 0
        found = await self.graph.share(depends_on)
        for place, task_id in enumerate(depends_on):
            if task_id not in found:
                raise UnknownTask(f"/depends_on/{place}")
        return sum(status is not TaskStatus.COMPLETED for status in found.values())

    async def need_parent(self, parent_id: UUID | None) -> None:
        """Return when there is such a parent, or None is wanted.

        Raises:
            UnknownTask: there is none.
        """
        if parent_id is not None and not await self.tasks.keep([parent_id]):
            raise UnknownTask("/parent_id")

    async def _check_parent(self, task_id: UUID, parent_id: UUID) -> None:
        if not self._has_graph:
            raise GraphNeeded
        await self.need_parent(parent_id)
        if await self.graph.is_under(parent_id, task_id):
            raise ParentCycle

    async def _check_dependencies(self, task_id: UUID, depends_on: Sequence[UUID]) -> int:
        """Check new dependencies, before the task itself is locked: they go first everywhere."""
        if not self._has_graph:
            raise GraphNeeded
        if depends_on and await self.graph.reaches(depends_on, task_id):
            raise DependencyCycle
        return await self.count_unmet(depends_on)

    async def _check_transition(self, task_id: UUID, state: TaskState, wanted: TaskStatus) -> None:
        if wanted not in LEGAL[state.status]:
            raise IllegalTransition(state.status, LEGAL[state.status])
        if wanted is TaskStatus.COMPLETED and state.unmet:
            raise DependenciesOpen(await self.graph.open_dependencies(task_id))


def author_of(caller: Principal) -> Author:
    """Return a caller as the history names it."""
    return Author(caller.subject, caller.persona)


def draft_of(task: NewTask, task_id: UUID, unmet: int, **others: Any) -> Draft:
    """Return the row that a new task becomes; `others` are set in place of what it says."""
    given: dict[str, Any] = {name: getattr(task, name) for name in NewTask.model_fields if name != "metadata"}
    return Draft(**given | others, id=task_id, details=task.metadata, unmet=unmet)


def check_token(state: TaskState, token: int | None) -> None:
    """Return when the token is that of the task's claim, or it is nobody's and none was given.

    Raises:
        TaskClaimed: it is claimed, and no token was given.
        ClaimLost: the token is not, or no longer, that of its claim.
    """
    if token is None and state.is_leased:
        raise TaskClaimed(state.claimed_by)
    if token is not None and token != state.claim_token:
        raise ClaimLost


def check_output_schema(schema: JsonObject | None) -> None:
    """Return when the schema can be used.

    Raises:
        InvalidRequest: it cannot; each problem with its pointer.
    """
    problems = [] if schema is None else check_schema(schema, "/output_schema")
    if problems:
        raise InvalidRequest(f"{problems[0].pointer}: {problems[0].detail}", errors=problems)


def check_result(schema: JsonObject | None, result: JsonObject | None) -> None:
    """Return when the result satisfies the schema, or there is none.

    Raises:
        ResultInvalid: it does not; each problem with its pointer.
    """
    if schema is None:
        return
    try:
        problems = check_value(schema, result, "/result")
    except SchemaError:
        raise InvalidRequest.of("/output_schema", "must not follow references without end") from None
    if problems:
        raise ResultInvalid(problems)


def _merged(before: JsonObject, patch: JsonObject) -> JsonObject:
    try:
        return check_metadata(cast("JsonObject", merge_patch(before, patch)))
    except ValueError as error:
        raise InvalidRequest.of("/metadata", f"{error} when merged") from None
