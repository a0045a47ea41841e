"""Many operations in one transaction: what is to be made is made at once, the others one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any
from uuid import UUID

from tmws_contracts.common import FieldProblem
from tmws_contracts.task import TaskCompletion, TaskStatus
from tmws_contracts.task_batch import (
    CompleteOperation,
    CreateOperation,
    FailOperation,
    Operation,
    PlainOperation,
    RefusedOperation,
    TaskBatch,
    UpdateOperation,
)
from tmws_contracts.task_claims import TaskFailure
from tmws_shared.app import explain
from tmws_shared.auth import Principal
from tmws_shared.clock import new_id
from tmws_shared.idempotency import Attempt, Reply
from tmws_shared.problems import InvalidRequest, ProblemError
from tmws_task.changes import Changes, check_output_schema, draft_of
from tmws_task.errors import OperationSkipped, UnknownTask
from tmws_task.planning import Planned, check_circles, skip_dependents, unknown_ref
from tmws_task.repository.tasks import Draft
from tmws_task.repository.views import dump
from tmws_task.service import TaskService, complete, fail, given, turn

_CREATED, _DONE, _DELETED = 201, 200, 204
Made = dict[str, Any]


class BatchService:
    """Runs batches."""

    def __init__(self, tasks: TaskService) -> None:
        self._tasks = tasks

    async def run(self, caller: Principal, batch: TaskBatch, attempt: Attempt) -> Reply:
        """Do the operations and say what became of each (see TaskBatchResult).

        Raises:
            ProblemError: an operation of an atomic batch failed; nothing of the batch is kept.
        """

        async def work(changes: Changes) -> Reply:
            run = _Run(changes, batch)
            await run.create_all()
            await run.do_others()
            return Reply(200, dump({"items": await run.results()}))

        return await self._tasks.once(caller, attempt, work, has_graph=True)


class _Run:
    """One batch in its transaction."""

    def __init__(self, changes: Changes, batch: TaskBatch) -> None:
        self._changes = changes
        self._is_atomic = batch.atomic
        self._operations: Sequence[Operation | RefusedOperation] = batch.operations
        self._ids: dict[int, UUID] = {}
        self._refs: dict[str, int] = {}
        self._failed: dict[int, ProblemError] = {}
        self._statuses: dict[int, int] = {}
        for place, operation in enumerate(self._operations):
            if isinstance(operation, RefusedOperation):
                self._refuse(place, _invalid(operation))
            elif isinstance(operation, CreateOperation):
                self._name(place, operation)

    def _name(self, place: int, operation: CreateOperation) -> None:
        self._ids[place] = new_id()
        if operation.ref is None:
            return
        if operation.ref in self._refs:
            self._refuse(place, InvalidRequest.of("/ref", "must be another one than those before it"))
        else:
            self._refs[operation.ref] = place

    def _refuse(self, place: int, problem: ProblemError) -> None:
        """Note what became of an operation.

        Raises:
            ProblemError: the batch is atomic.
        """
        if self._is_atomic:
            raise _within(place, problem)
        self._failed[place] = problem

    async def create_all(self) -> None:
        """Make what can be made, in one statement."""
        creates = {
            place: operation
            for place, operation in enumerate(self._operations)
            if isinstance(operation, CreateOperation) and place not in self._failed
        }
        planned = await self._plan(creates)
        for place, problem in check_circles(planned).items():
            self._refuse(place, problem)
        for place, problem in skip_dependents(planned, set(self._failed)).items():
            self._refuse(place, problem)
        drafts = [self._draft(place, creates[place]) for place in planned if place not in self._failed]
        if drafts:
            await self._changes.add([self._counted(draft) for draft in drafts])
        self._statuses |= {place: _CREATED for place in planned if place not in self._failed}

    async def _plan(self, creates: dict[int, CreateOperation]) -> dict[int, Planned]:
        """Find what the tasks name, here and in the database."""
        named = {name for one in creates.values() for name in one.depends_on if not name.startswith("#")}
        parents = {one.parent_id for one in creates.values() if one.parent_id and not one.parent_id.startswith("#")}
        self._known = await self._changes.graph.share([UUID(name) for name in named]) if named else {}
        kept = await self._changes.tasks.keep([UUID(name) for name in parents]) if parents else set[UUID]()
        planned: dict[int, Planned] = {}
        for place, operation in creates.items():
            try:
                planned[place] = self._resolve(operation, kept)
                check_output_schema(operation.output_schema)
            except ProblemError as problem:
                self._refuse(place, problem)
        return planned

    def _resolve(self, operation: CreateOperation, kept: set[UUID]) -> Planned:
        inside: dict[int, str] = {}
        for number, name in enumerate(operation.depends_on):
            pointer = f"/depends_on/{number}"
            if name.startswith("#"):
                inside.setdefault(self._place(name, pointer), pointer)
            elif UUID(name) not in self._known:
                raise UnknownTask(pointer)
        parent = operation.parent_id
        if parent is None:
            return Planned(inside, None)
        if parent.startswith("#"):
            return Planned(inside, self._place(parent, "/parent_id"))
        if UUID(parent) not in kept:
            raise UnknownTask("/parent_id")
        return Planned(inside, None)

    def _place(self, name: str, pointer: str) -> int:
        place = self._refs.get(name[1:])
        if place is None:
            raise unknown_ref(pointer)
        return place

    def _draft(self, place: int, operation: CreateOperation) -> Draft:
        depends_on = [self._id(name) for name in dict.fromkeys(operation.depends_on)]
        parent_id = self._id(operation.parent_id) if operation.parent_id else None
        return draft_of(operation, self._ids[place], 0, parent_id=parent_id, depends_on=depends_on)

    def _counted(self, draft: Draft) -> Draft:
        """The draft with its open dependencies: those of the batch are open, the others as they stand."""
        unmet = sum(self._known.get(task_id) is not TaskStatus.COMPLETED for task_id in draft.depends_on)
        return replace(draft, unmet=unmet)

    def _id(self, name: str) -> UUID:
        return self._ids[self._refs[name[1:]]] if name.startswith("#") else UUID(name)

    async def do_others(self) -> None:
        """Do what makes no task, in order; unless the batch is atomic, one that fails leaves the others alone."""
        for place, operation in enumerate(self._operations):
            if isinstance(operation, RefusedOperation | CreateOperation):
                continue
            try:
                self._ids[place] = self._target(operation.id)
                async with nullcontext() if self._is_atomic else self._changes.tasks.savepoint():
                    self._statuses[place] = await self._do(self._ids[place], operation)
            except ProblemError as problem:
                self._refuse(place, problem)

    def _target(self, name: str) -> UUID:
        if not name.startswith("#"):
            return UUID(name)
        place = self._place(name, "/id")
        if place in self._failed:
            raise OperationSkipped("/id")
        return self._ids[place]

    async def _do(
        self, task_id: UUID, operation: UpdateOperation | CompleteOperation | FailOperation | PlainOperation
    ) -> int:
        changes = self._changes
        if isinstance(operation, UpdateOperation):
            await changes.change(task_id, given(operation.change), is_patch=True)
            return _DONE
        if isinstance(operation, PlainOperation) and operation.op == "delete":
            await changes.delete(task_id)
            return _DELETED
        state = await changes.lock(task_id)
        match operation:
            case CompleteOperation():
                completion = TaskCompletion(result=operation.result, claim_token=operation.claim_token)
                await complete(changes, task_id, state, completion)
            case FailOperation():
                await fail(
                    changes, task_id, state, TaskFailure(error=operation.error, claim_token=operation.claim_token)
                )
            case PlainOperation():
                wanted = TaskStatus.CANCELLED if operation.op == "cancel" else TaskStatus.PENDING
                await turn(changes, task_id, state, wanted)
        return _DONE

    async def results(self) -> list[Made]:
        """Return what became of each operation."""
        done = [self._ids[place] for place in self._statuses]
        versions = await self._changes.tasks.versions(done)
        return [self._result(place, versions) for place in range(len(self._operations))]

    def _result(self, place: int, versions: dict[UUID, int]) -> Made:
        operation = self._operations[place]
        made: Made = {"status": self._statuses.get(place), "id": None, "ref": None, "version": None, "problem": None}
        if isinstance(operation, CreateOperation):
            made["ref"] = operation.ref
        if place in self._failed:
            problem = _within(place, self._failed[place])
            return made | {"status": problem.status, "problem": problem.document()}
        task_id = self._ids[place]
        return made | {"id": str(task_id), "version": versions.get(task_id)}


def _invalid(operation: RefusedOperation) -> InvalidRequest:
    errors = [explain({**error, "loc": ("body", *error["loc"])}) for error in operation.errors]
    return InvalidRequest(f"{errors[0].pointer}: {errors[0].detail}", errors=errors)


def _within(place: int, problem: ProblemError) -> ProblemError:
    """Return a problem whose pointers are those of the batch."""
    problem.errors = tuple(
        FieldProblem(pointer=f"/operations/{place}{error.pointer}", detail=error.detail) for error in problem.errors
    )
    problem.detail = f"/operations/{place}: {problem.detail or problem.title()}"
    problem.facts["operation"] = place
    return problem
