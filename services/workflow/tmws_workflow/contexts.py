"""What a step sees: the execution's parameters and the results of the steps before it.

Results never change once they are written, so a worker keeps those of the executions it works on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tmws_contracts.workflow import StepStatus
from tmws_shared.auth import Principal
from tmws_workflow.expressions import Expression, json_bytes
from tmws_workflow.repository.queue import Origin, Queue


@dataclass(frozen=True, slots=True)
class Result:
    """How a step ended."""

    status: StepStatus
    output: Any
    error: Any
    bytes: int

    def shown(self) -> dict[str, Any]:
        """Return what `steps.<id>` is in expressions: no `output` when the step was not to run or was stopped."""
        shown = {"status": self.status.value, "error": self.error}
        if self.status in (StepStatus.SKIPPED, StepStatus.CANCELLED):
            return shown
        return shown | {"output": self.output}


@dataclass(frozen=True, slots=True)
class Item:
    """One item of the list a map goes over, and its place there."""

    value: Any
    number: int


@dataclass(slots=True)
class Context:
    """One execution, as far as this worker knows it."""

    origin: Origin
    results: dict[str, Result] = field(default_factory=dict[str, Result])
    holders: int = 0
    inputs_bytes: int = 0

    def data_for(self, expression: Expression, item: Item | None = None) -> tuple[dict[str, Any], int]:
        """Return what the expression reads, no more, and how large that is."""
        steps = {name: self.results[name] for name in expression.steps}
        execution = {
            "id": str(self.origin.execution_id),
            "workflow_id": str(self.origin.workflow_id),
            "namespace": self.origin.namespace,
        }
        data = {
            "inputs": self.origin.parameters,
            "steps": {name: result.shown() for name, result in steps.items()},
            "execution": execution,
        }
        size = self.inputs_bytes + sum(result.bytes for result in steps.values())
        if item is not None:
            data |= {"item": item.value, "index": item.number}
            size += json_bytes(item.value)
        return data, size

    def principal(self, scopes: frozenset[str]) -> Principal:
        """Return who the steps act as: whoever started the execution, with no more scopes than needed."""
        return principal_of(self.origin.execution_id, self.origin.namespace, self.origin.principal, scopes)


def principal_of(execution_id: UUID, namespace: str, starter: dict[str, Any], scopes: frozenset[str]) -> Principal:
    """Return the principal of an execution's steps."""
    return Principal(
        subject=f"workflow:{execution_id}",
        namespace=namespace,
        scopes=scopes & frozenset(starter["scopes"]),
        persona=starter.get("persona"),
    )


class Contexts:
    """The executions this worker holds steps of."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._known: dict[UUID, Context] = {}

    def learn(self, origin: Origin) -> None:
        """Remember an execution that came with a claim; one that was retried since is another."""
        known = self._known.get(origin.execution_id)
        if known is None or known.origin.retries != origin.retries:
            self._known[origin.execution_id] = _context(origin)

    def namespaces(self) -> set[str]:
        """Return the namespaces of these executions."""
        return {context.origin.namespace for context in self._known.values()}

    async def open(self, execution_id: UUID) -> Context:
        """Return the context of an execution, and keep it until it is closed as often.

        Raises:
            LookupError: the execution does not exist any more.
        """
        context = self._known.get(execution_id)
        if context is None:
            origin = await self._queue.origin(execution_id)
            if origin is None:
                raise LookupError("the execution was deleted")
            context = self._known.setdefault(execution_id, _context(origin))
        context.holders += 1
        return context

    def close(self, context: Context) -> None:
        """Forget a context that nobody holds."""
        context.holders -= 1
        if context.holders <= 0 and self._known.get(context.origin.execution_id) is context:
            del self._known[context.origin.execution_id]

    def remember(self, execution_id: UUID, path: str, status: StepStatus, output: Any) -> None:
        """Note how a step ended, once that is durable, for those that come after it."""
        context = self._known.get(execution_id)
        if context is not None:
            context.results[path] = Result(status, output, None, json_bytes(output))

    async def complete(self, context: Context, paths: Iterable[str]) -> None:
        """Make sure that the results of these steps are known."""
        missing = [path for path in paths if path not in context.results]
        if not missing:
            return
        for path, status, output, error in await self._queue.results(context.origin.execution_id, missing):
            size = json_bytes(output) + json_bytes(error)
            context.results[path] = Result(StepStatus(status), output, error, size)


def _context(origin: Origin) -> Context:
    return Context(origin, inputs_bytes=json_bytes(origin.parameters))
