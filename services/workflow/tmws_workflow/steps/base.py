"""What a kind of step is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Protocol
from uuid import UUID

import orjson

from tmws_contracts.common import Priority
from tmws_shared.auth import Principal
from tmws_shared.database import Database
from tmws_shared.http import Answer, ServiceClient
from tmws_workflow.egress.client import Egress
from tmws_workflow.engine import Outcome
from tmws_workflow.retries import RetryPolicy


class StepFailed(Exception):
    """A step did not succeed, for a reason of its own.

    `retry_after_s` is None when another attempt cannot help, else the least pause before one.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retry_after_s: float | None = None,
        status: int | None = None,
        problem: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message}
        if status is not None:
            self.error |= {"status": status}
        if problem is not None:
            self.error |= {"problem": problem}
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Argument:
    """One member of a step's `with`: the JSON types it may have when it is no expression."""

    types: tuple[type, ...]
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class ChildWanted:
    """An execution that a run of a step wants to wait for; the workflow is named by its id or its name."""

    execution_id: UUID
    path: str
    run: int
    principal: Principal
    workflow_id: UUID | None
    name: str | None
    parameters: dict[str, Any]
    priority: Priority | None


class Children(Protocol):
    """Launches and cancels child executions; launching needs all kinds of steps, so that a kind cannot do it itself."""

    async def launch(self, wanted: ChildWanted) -> UUID:
        """Launch the child, unless this run of the step has one, and return its id."""
        ...

    async def cancel(self, execution_id: UUID) -> None:
        """Cancel the execution, unless it has ended."""
        ...


def type_problems(arguments: Mapping[str, Any], known: Mapping[str, Argument]) -> list[tuple[str, str]]:
    """Return (member, what is wrong) for values of another type: out of an expression may come anything."""
    return [(name, "has the wrong type") for name, value in arguments.items() if not has_type(value, known[name].types)]


def has_type(value: Any, types: tuple[type, ...]) -> bool:
    """Return whether a value has one of the types; true and false are no numbers."""
    return isinstance(value, types) and (not isinstance(value, bool) or bool in types)


def refuse_arguments(problems: list[tuple[str, str]]) -> None:
    """Return when there are no problems.

    Raises:
        StepFailed: there are; each is named.
    """
    if problems:
        raise StepFailed("argument", "; ".join(f"/with/{name}: {detail}" for name, detail in problems))


@dataclass(frozen=True, slots=True)
class Services:
    """What steps need: database, other services, the way out, child executions.

    `look_again_s` is how long to wait before looking again for what was not announced.
    """

    database: Database
    task: ServiceClient
    memory: ServiceClient
    look_again_s: float
    egress: Egress
    children: Children


@dataclass(frozen=True, slots=True)
class StepCall:
    """One attempt of one step, its arguments evaluated; `run` grows when its effect is to happen anew."""

    execution_id: UUID
    path: str
    arguments: dict[str, Any]
    options: Mapping[str, Any]
    principal: Principal
    services: Services
    now: datetime
    run: int = 0

    @property
    def idempotency_key(self) -> str:
        """The key all attempts of the step share."""
        return f"{self.execution_id}:{self.path}" + (f":{self.run}" if self.run else "")

    async def send(
        self, client: ServiceClient, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Answer:
        """Call a service with the rights of whoever started the execution."""
        # Attempts must send the same bytes, and a JSON object read back from the table has its keys in another order.
        json = None if body is None else orjson.loads(orjson.dumps(body, option=orjson.OPT_SORT_KEYS))
        headers = {"idempotency-key": self.idempotency_key} if method == "POST" else None
        return await client.call(method, path, self.principal, json=json, headers=headers)


@dataclass(frozen=True, slots=True)
class Wait:
    """A step that waits, and is looked at again."""

    execution_id: UUID
    path: str
    key: str
    principal: Principal
    services: Services

    @property
    def subject(self) -> str:
        """What is waited for: the key without its kind."""
        return self.key.partition(":")[2]


SERVICE_RETRY = RetryPolicy(max_attempts=5, initial_s=1.0, factor=2.0, max_s=60.0)
NO_RETRY = RetryPolicy(max_attempts=1)


class StepKind(Protocol):
    """A kind of step: what it takes, what it may do, how it starts and what it does when looked at again."""

    @property
    def uses(self) -> str:
        """The kind's name in definitions."""
        ...

    @property
    def arguments(self) -> Mapping[str, Argument] | None:
        """What `with` may hold; None for anything."""
        ...

    @property
    def options(self) -> Mapping[str, Argument]:
        """Fields of a step, beside `with`, that only this kind has; always literal."""
        ...

    @property
    def scopes(self) -> frozenset[str]:
        """The rights its calls need."""
        ...

    @property
    def retry(self) -> RetryPolicy:
        """How its steps are tried again when the definition does not say."""
        ...

    def check(self, arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return (member, what is wrong) for literal arguments that no type can rule out."""
        ...

    def check_options(self, options: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return (field, what is wrong) for options whose types are right, and which fit the `with` they come with."""
        ...

    async def start(self, call: StepCall) -> Outcome:
        """Run an attempt.

        Raises:
            StepFailed: it did not succeed.
            ProblemError: a service refused it or is not available.
        """
        ...

    async def look(self, wait: Wait) -> Outcome | None:
        """Look whether what the step waits for is there; None when not.

        Raises:
            ProblemError: the service that knows is not available.
        """
        ...

    async def withdraw(self, wait: Wait) -> None:
        """Take back what a cancelled step asked for.

        Raises:
            ProblemError: the service refused, or is not available.
        """
        ...


class Simple:
    """A kind whose steps end with their attempt; to be built upon."""

    retry = NO_RETRY
    options: Mapping[str, Argument] = MappingProxyType({})
    scopes: frozenset[str] = frozenset()

    def check(self, arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Find nothing wrong that the types allow."""
        del arguments
        return []

    def check_options(self, options: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Find nothing wrong that the types allow."""
        del options, arguments
        return []

    async def look(self, wait: Wait) -> Outcome | None:
        """Say that nothing is there: such a step never waits."""
        del wait
        return None

    async def withdraw(self, wait: Wait) -> None:
        """Do nothing: such a step asks nobody for anything."""
        del wait
