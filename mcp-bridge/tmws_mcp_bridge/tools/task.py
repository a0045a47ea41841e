"""The tool on tasks."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastmcp.tools import Tool
from mcp_types import ToolAnnotations
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer
from pydantic.json_schema import SkipJsonSchema

from tmws_contracts.common import Label, Limit, Line, Metadata, Priority, Slug, UtcTime
from tmws_contracts.task import MAX_DEPENDENCIES, Capabilities, ClaimToken, Description, Labels, Progress, TaskStatus
from tmws_contracts.task_claims import DEFAULT_LEASE_S, Agent, LeaseSeconds, Note
from tmws_mcp_bridge.client import Call, Gateway
from tmws_mcp_bridge.errors import InvalidArguments
from tmws_mcp_bridge.results import JsonObject, JsonSchema, list_schema, object_schema, without_blanks

_TASKS = "/api/v1/tasks"
_TASK = object_schema(
    {"id": "str", "title": "str", "status": "str", "priority": "str", "ready": "bool", "version": "int"},
    ["id", "title", "status"],
)
_LEASE = object_schema({"id": "str", "claim_token": "int", "lease_until": "str"}, ["claim_token"])
_OUTPUT = object_schema(
    {"task": _TASK, "tasks": list_schema(_TASK), "lease": _LEASE, "next_cursor": "str", "deleted": "str"}
)
# The gateway is given up after 30 seconds.
MAX_WAIT_S = 20

_DETAILS = "title description priority assigned_persona metadata labels due_at parent_id depends_on capabilities"
_FILTERS = "q status priority assigned_persona label parent_id ready due_before updated_since sort limit cursor"
_FIELDS = {
    "create": frozenset(_DETAILS.split()),
    "get": frozenset({"id"}),
    "list": frozenset(_FILTERS.split()),
    "update": frozenset(f"id version status progress result error {_DETAILS}".split()),
    "complete": frozenset({"id", "version", "result", "claim_token"}),
    "delete": frozenset({"id", "version"}),
    "claim": frozenset(["agent_id", "personas", "capabilities", "labels", "limit", "lease_seconds", "wait_seconds"]),
    "heartbeat": frozenset({"id", "claim_token", "lease_seconds"}),
    "release": frozenset({"id", "claim_token", "note"}),
    "progress": frozenset({"id", "claim_token", "progress", "note"}),
    "ask": frozenset({"id", "claim_token", "question"}),
    "answer": frozenset({"id", "answer"}),
    "fail": frozenset({"id", "claim_token", "error"}),
}
_REQUIRED = dict.fromkeys(_FIELDS, ("id",)) | {
    "create": ("title",),
    "list": (),
    "claim": (),
    "heartbeat": ("id", "claim_token"),
    "release": ("id", "claim_token"),
    "progress": ("id", "progress"),
    "ask": ("id", "question"),
    "answer": ("id", "answer"),
}
_STEPS = frozenset({"complete", "release", "progress", "ask", "answer", "fail"})
_ASKED_AT = {"ask": "input"}

Operation = Annotated[
    Literal[
        "create", "get", "list", "update", "complete", "delete", "claim", "heartbeat", "release", "progress", "ask",
        "answer", "fail",
    ],
    Field(description="what to do"),
]  # fmt: skip


class Order(StrEnum):
    """In which order tasks are listed."""

    NEWEST = "newest"
    OLDEST = "oldest"
    PRIORITY = "priority"
    DUE = "due"


def _drop_defaults(schema: JsonSchema) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


class TaskData(BaseModel):
    """The fields of all operations; none has a default, since only those given are sent."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_drop_defaults)

    id: UUID = Field(UUID(int=0), description="of the task; all but create and list need it")
    title: Line = ""
    description: Description | None = None
    status: TaskStatus = Field(TaskStatus.PENDING, description="update: new status; list: filter")
    priority: Priority = Field(Priority.MEDIUM, description="medium unless given")
    assigned_persona: Slug | None = Field(None, description="e.g. athena")
    progress: Progress = 0
    metadata: Metadata = {}
    labels: Labels = []
    due_at: UtcTime | None = None
    parent_id: UUID | None = None
    depends_on: Annotated[list[UUID], Field(max_length=MAX_DEPENDENCIES)] = Field(
        [], description="tasks to be completed first"
    )
    result: Metadata | None = Field(None, description="complete: what came out")
    error: Description | None = Field(None, description="fail, update: why it failed")
    version: int = Field(0, ge=1, description="act only if the task still has it")
    agent_id: Agent = Field("", description="claim: your name")
    personas: Annotated[list[Slug], Field(max_length=20)] = Field(
        [], description="claim: tasks for these, and those for nobody"
    )
    capabilities: Capabilities = Field([], description="claim: what you can do; create: what a claimer must be able to")
    claim_token: ClaimToken = Field(0, description="what claim gave for the task")
    lease_seconds: LeaseSeconds = Field(DEFAULT_LEASE_S, description="claim, heartbeat: how long it is yours")
    wait_seconds: int = Field(0, ge=0, le=MAX_WAIT_S, description="claim: how long to wait for a task")
    note: Note = Field("", description="release, progress")
    question: Note = Field("", description="ask: what a person should answer")
    answer: Note = Field("", description="answer: to the task's question")
    q: str = Field("", max_length=1024, description="list: words to search for")
    ready: bool = Field(False, description="list: can be started now")
    label: Label = Field("", description="list")
    due_before: UtcTime | SkipJsonSchema[None] = Field(None, description="list")
    updated_since: UtcTime | SkipJsonSchema[None] = Field(None, description="list")
    sort: Order = Field(Order.NEWEST, description="list")
    limit: Limit = Field(50, description="list")
    cursor: str = Field("", max_length=1024, description="list: next_cursor of the page before")

    @model_serializer(mode="wrap")
    def _only_given(self, dump: SerializerFunctionWrapHandler) -> JsonObject:
        return {name: value for name, value in dump(self).items() if name in self.model_fields_set}


_NO_DATA = TaskData.model_validate({})
Data = Annotated[TaskData, Field(description="the operation's fields")]


class TaskTools:
    """Work on tasks."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._agent = f"mcp-{uuid4()}"

    def tools(self) -> list[Tool]:
        """Return the tool on tasks."""
        return [
            Tool.from_function(
                self.manage_task,
                annotations=ToolAnnotations(destructive_hint=True, idempotent_hint=False, open_world_hint=False),
                output_schema=_OUTPUT,
            )
        ]

    async def manage_task(self, operation: Operation, task_data: Data = _NO_DATA) -> JsonObject:
        """Work on the team's tasks: create, get, list, update, delete; claim one, and complete or fail it.

        To do a task: claim, which gives the best ready one to you alone, with a claim_token; heartbeat before its
        lease ends; then complete with a result, fail, or release it. When a person must decide, ask. Update changes
        only the fields given.

        Example: {"operation": "create", "task_data": {"title": "Write the release notes", "priority": "high"}}
        """
        _check(operation, task_data)
        fields: JsonObject = task_data.model_dump(mode="json")
        if operation == "list":
            return await self._list(fields)
        if operation == "create":
            return await self._write(Call("POST", _TASKS, fields, within="task_data"))
        if operation == "claim":
            return await self._claim(fields)
        return await self._one(operation, fields.pop("id"), fields)

    async def _one(self, operation: str, task_id: str, fields: JsonObject) -> JsonObject:
        headers = {"if-match": f'"{fields.pop("version")}"'} if "version" in fields else None
        path = f"{_TASKS}/{task_id}"
        if operation == "heartbeat":
            return {"lease": await self._gateway.send(Call("POST", f"{path}/heartbeat", fields, within="task_data"))}
        if operation in _STEPS:
            step = _ASKED_AT.get(operation, operation)
            return await self._write(Call("POST", f"{path}/{step}", fields, None, headers, "task_data"))
        method = {"get": "GET", "update": "PUT", "delete": "DELETE"}[operation]
        body = fields if operation == "update" else None
        answer = await self._gateway.send(Call(method, path, body, None, headers, "task_data"))
        return {"deleted": task_id} if operation == "delete" else {"task": _show(answer)}

    async def _claim(self, fields: JsonObject) -> JsonObject:
        """Claim; a client that gave up and asks again is given the same tasks."""
        wanted = Call("POST", f"{_TASKS}/claim", {"agent_id": self._agent, **fields}, within="task_data")
        with self._gateway.once(wanted) as keyed:
            request_id = (keyed.headers or {}).get("idempotency-key")
            claim = replace(wanted, body={**(wanted.body or {}), "request_id": request_id})
            claimed = await self._gateway.send(claim)
        return {"tasks": [_show(task) for task in claimed["items"]]}

    async def _write(self, call: Call) -> JsonObject:
        with self._gateway.once(call) as keyed:
            return {"task": _show(await self._gateway.send(keyed))}

    async def _list(self, fields: JsonObject) -> JsonObject:
        query = {name: str(value).lower() if isinstance(value, bool) else value for name, value in fields.items()}
        page = await self._gateway.send(Call("GET", _TASKS, query=query, within="task_data"))
        return {"tasks": [_show(task) for task in page["items"]]} | without_blanks(
            {"next_cursor": page.get("next_cursor")}
        )


def _check(operation: str, data: TaskData) -> None:
    """Refuse what the operation has no use for: silence would let an agent believe that it took effect."""
    given = data.model_fields_set
    known = _FIELDS[operation]
    for needed in _REQUIRED[operation]:
        if needed not in given:
            raise InvalidArguments(f"task_data.{needed} is required to {operation} a task.")
    if unused := sorted(given - known):
        raise InvalidArguments(
            f"task_data.{unused[0]} is not used to {operation} tasks; {operation} takes {', '.join(sorted(known))}."
        )


def _show(task: dict[str, Any]) -> JsonObject:
    return without_blanks(task, ("namespace",))
