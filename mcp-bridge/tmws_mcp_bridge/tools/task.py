"""The tool on tasks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from fastmcp.tools import Tool
from mcp_types import ToolAnnotations
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer
from pydantic.json_schema import SkipJsonSchema

from tmws_contracts.common import Label, Limit, Line, Metadata, Priority, Slug, UtcTime
from tmws_contracts.task import MAX_DEPENDENCIES, Description, Labels, Progress, TaskStatus
from tmws_mcp_bridge.client import Call, Gateway
from tmws_mcp_bridge.errors import InvalidArguments
from tmws_mcp_bridge.results import JsonObject, JsonSchema, list_schema, object_schema, without_blanks

_TASKS = "/api/v1/tasks"
_TASK = object_schema(
    {"id": "str", "title": "str", "status": "str", "priority": "str", "ready": "bool", "version": "int"},
    ["id", "title", "status"],
)
_OUTPUT = object_schema({"task": _TASK, "tasks": list_schema(_TASK), "next_cursor": "str", "deleted": "str"})

_DETAILS = "title description priority assigned_persona metadata labels due_at parent_id depends_on"
_FILTERS = "status priority assigned_persona label parent_id ready due_before updated_since sort limit cursor"
_FIELDS = {
    "create": frozenset(_DETAILS.split()),
    "get": frozenset({"id"}),
    "list": frozenset(_FILTERS.split()),
    "update": frozenset(f"id version status progress result error {_DETAILS}".split()),
    "complete": frozenset({"id", "version", "result"}),
    "delete": frozenset({"id", "version"}),
}
_REQUIRED = {"create": "title", "get": "id", "update": "id", "complete": "id", "delete": "id"}

Operation = Annotated[Literal["create", "get", "list", "update", "complete", "delete"], Field(description="what to do")]


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
    error: Description | None = Field(None, description="update: why it failed")
    version: int = Field(0, ge=1, description="act only if the task still has it: take a task so, and nobody else does")
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
        """Create, get, list, update, complete or delete the team's tasks.

        To do a task: list with status pending and ready true; update it to in_progress with the version you saw; do
        the work; complete it with a result. Update changes only the fields given.

        Example: {"operation": "create", "task_data": {"title": "Write the release notes", "priority": "high"}}
        """
        _check(operation, task_data)
        fields: JsonObject = task_data.model_dump(mode="json")
        if operation == "list":
            return await self._list(fields)
        if operation == "create":
            return await self._write(Call("POST", _TASKS, fields, within="task_data"))
        return await self._one(operation, fields.pop("id"), fields)

    async def _one(self, operation: str, task_id: str, fields: JsonObject) -> JsonObject:
        headers = {"if-match": f'"{fields.pop("version")}"'} if "version" in fields else None
        path = f"{_TASKS}/{task_id}"
        if operation == "complete":
            return await self._write(Call("POST", f"{path}/complete", fields, None, headers, "task_data"))
        method = {"get": "GET", "update": "PUT", "delete": "DELETE"}[operation]
        body = fields if operation == "update" else None
        answer = await self._gateway.send(Call(method, path, body, None, headers, "task_data"))
        return {"deleted": task_id} if operation == "delete" else {"task": _show(answer)}

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
    if (needed := _REQUIRED.get(operation)) and needed not in given:
        raise InvalidArguments(f"task_data.{needed} is required to {operation} a task.")
    if unused := sorted(given - known):
        raise InvalidArguments(
            f"task_data.{unused[0]} is not used to {operation} tasks; {operation} takes {', '.join(sorted(known))}."
        )


def _show(task: dict[str, Any]) -> JsonObject:
    return without_blanks(task, ("namespace",))
