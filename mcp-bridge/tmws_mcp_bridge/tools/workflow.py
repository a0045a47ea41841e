"""Tools that run workflows and watch them."""

from __future__ import annotations

from time import monotonic
from typing import Annotated, Any
from uuid import UUID

import anyio
from fastmcp.server.context import Context
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tmws_contracts.common import Document, Limit, Line, Metadata
from tmws_contracts.schedules import Cron, Zone
from tmws_contracts.workflow import WorkflowType
from tmws_mcp_bridge.client import Call, Gateway
from tmws_mcp_bridge.errors import CallFailed, InvalidArguments
from tmws_mcp_bridge.results import JsonObject, list_schema, object_schema, only_given, without_blanks
from tmws_mcp_bridge.tools.building import Offer, reading, writing

MAX_WAIT_S = 600
NEVER_RAN = "It never ran: start it with execute_workflow."
_WORKFLOWS, _EXECUTIONS = "/api/v1/workflows", "/api/v1/executions"
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.1, 1.0
_ENDED = frozenset({"completed", "failed", "cancelled", "timed_out"})
_STEP_ENDED = _ENDED | {"skipped"}
# A step's output may be large, and the workflow says itself what it puts out.
_SHOWN_OF_STEP = ("id", "uses", "status", "attempt", "waiting_for", "error")
_SHOWN_OF_WORKFLOW = ("id", "name", "workflow_type", "priority", "status", "execution_id", "error")
_OUTPUT = object_schema(
    {"execution_id": "str", "status": "str", "finished": "bool", "steps": "list", "error": "dict"},
    ["status"],
)
_WORKFLOW = object_schema({"id": "str", "name": "str", "status": "str", "inputs": "dict"})
_LIST_OUTPUT = object_schema({"workflows": list_schema(_WORKFLOW), "next_cursor": "str"}, ["workflows"])
_DIAGNOSIS_OUTPUT = object_schema(
    {"verdict": "str", "summary": "str", "steps": "list", "unblock": "list"}, ["verdict", "summary"]
)
_SCHEDULE_OUTPUT = object_schema({"id": "str", "cron": "str", "next_fires": "list"}, ["id"])
_SCHEDULES_OUTPUT = object_schema({"schedules": list_schema(_SCHEDULE_OUTPUT)}, ["schedules"])

WorkflowId = Annotated[UUID, Field()]
ExecutionId = Annotated[UUID, Field()]
Parameters = Annotated[Metadata, Field(description="what its `inputs` ask for")]
Wait = Annotated[float, Field(ge=0, le=MAX_WAIT_S, description="for its end")]
Definition = Annotated[Document, Field(description="steps, and if need be inputs (a JSON schema) and output")]
Changed = Annotated[UUID, Field(description="to change this one")]
Name = Annotated[Line, Field(description="exactly this one")]

_NO_PARAMETERS: Parameters = {}


class WorkflowTools:
    """Run workflows."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def tools(self) -> list[Offer]:
        """Return the tools on workflows."""
        return [
            writing(self.execute_workflow, _OUTPUT, is_open=True),
            reading(self.workflow_status, _OUTPUT),
            reading(self.list_workflows, _LIST_OUTPUT),
            reading(self.diagnose_execution, _DIAGNOSIS_OUTPUT),
            writing(self.save_workflow, _WORKFLOW, is_destructive=True),
            writing(self.schedule_workflow, _SCHEDULE_OUTPUT),
            reading(self.list_schedules, _SCHEDULES_OUTPUT),
        ]

    async def execute_workflow(
        self, workflow_id: WorkflowId, ctx: Context, parameters: Parameters = _NO_PARAMETERS, wait_seconds: Wait = 0
    ) -> JsonObject:
        """Start a workflow; with wait_seconds, wait for its end and return its output and steps.

        Example: {"workflow_id": "0190b5d3-…", "parameters": {"topic": "release 2.1"}, "wait_seconds": 60}
        """
        # The key is held while waiting: a client that gives up and calls again joins the same execution.
        with self._gateway.once(
            Call("POST", f"{_WORKFLOWS}/{workflow_id}/execute", {"parameters": parameters})
        ) as call:
            started = await self._gateway.send(call)
            seen = {"execution_id": started["execution_id"], "status": started.get("status", "pending")}
            if not wait_seconds:
                return {**seen, "finished": False}
            return await self._watch(ctx, {**seen, "finished": False}, wait_seconds)

    async def workflow_status(
        self,
        ctx: Context,
        execution_id: ExecutionId | SkipJsonSchema[None] = None,
        workflow_id: WorkflowId | SkipJsonSchema[None] = None,
        wait_seconds: Wait = 0,
    ) -> JsonObject:
        """See how an execution goes, or the latest one of a workflow: steps, what they wait for, output.

        Example: {"execution_id": "0190b5d3-…", "wait_seconds": 60}
        """
        if (execution_id is None) == (workflow_id is None):
            raise InvalidArguments("execution_id or workflow_id is required, and not both.")
        if execution_id is None:
            report = await self._gateway.send(Call("GET", f"{_WORKFLOWS}/{workflow_id}/status"))
            if report["execution_id"] is None:
                return {"status": "pending", "finished": False, "next": NEVER_RAN}
            execution_id = UUID(report["execution_id"])
        seen = await self._see(str(execution_id))
        return seen if not wait_seconds else await self._watch(ctx, seen, wait_seconds)

    async def list_workflows(
        self,
        name: Name | SkipJsonSchema[None] = None,
        limit: Limit = 20,
        cursor: str | SkipJsonSchema[None] = None,
    ) -> JsonObject:
        """List workflows with their ids, the `inputs` they take and how their latest execution went.

        Example: {"name": "release"}
        """
        query = {"limit": limit} | only_given(name=name, cursor=cursor)
        page = await self._gateway.send(Call("GET", _WORKFLOWS, query=query))
        workflows = [_show_workflow(workflow) for workflow in page["items"]]
        return {"workflows": workflows} | without_blanks({"next_cursor": page.get("next_cursor")})

    async def diagnose_execution(self, execution_id: ExecutionId) -> JsonObject:
        """Tell why an execution does not move: what each step waits for, since when, and who can unblock it.

        Example: {"execution_id": "0190b5d3-…"}
        """
        found = await self._gateway.send(Call("GET", f"{_EXECUTIONS}/{execution_id}/diagnosis"))
        return {**found, "steps": [_show_step(step) for step in found["steps"]]}

    async def save_workflow(
        self,
        name: Line,
        config: Definition,
        workflow_type: WorkflowType = WorkflowType.SEQUENTIAL,
        workflow_id: Changed | SkipJsonSchema[None] = None,
    ) -> JsonObject:
        """Define a workflow, or give one a new definition; what runs already keeps its own.

        A step has an id, uses and with; in a dag also needs. uses: transform, task, agent (done by its persona),
        approval, memory.search, memory.store, http, delay, signal, map, workflow. Strings may hold
        expressions: ${{ inputs.topic }}, ${{ steps.<id>.output }}.
        Example: {"name": "Notes", "config": {"inputs": {"type": "object"}, "steps": [{"id": "write", "uses": "agent",
        "persona": "muses", "with": {"instructions": "Write the notes."}}], "output": "${{ steps.write.output }}"}}
        """
        body = {"name": name, "workflow_type": workflow_type, "config": config}
        if workflow_id is not None:
            return _show_workflow(await self._gateway.send(Call("PUT", f"{_WORKFLOWS}/{workflow_id}", body)))
        with self._gateway.once(Call("POST", _WORKFLOWS, body)) as call:
            return _show_workflow(await self._gateway.send(call))

    async def schedule_workflow(
        self,
        workflow_id: WorkflowId,
        cron: Cron,
        timezone: Zone = "UTC",
        parameters: Parameters = _NO_PARAMETERS,
    ) -> JsonObject:
        """Let a workflow run by itself at set times.

        Example: {"workflow_id": "0190b5d3-…", "cron": "0 6 * * 1-5", "timezone": "Europe/Berlin"}
        """
        body = {"cron": cron, "timezone": timezone, "parameters": parameters}
        with self._gateway.once(Call("POST", f"{_WORKFLOWS}/{workflow_id}/schedules", body)) as call:
            return without_blanks(await self._gateway.send(call))

    async def list_schedules(self, workflow_id: WorkflowId) -> JsonObject:
        """List the schedules of a workflow, with their next times.

        Example: {"workflow_id": "0190b5d3-…"}
        """
        page = await self._gateway.send(Call("GET", f"{_WORKFLOWS}/{workflow_id}/schedules"))
        return {"schedules": [without_blanks(schedule) for schedule in page["items"]]}

    async def _watch(self, ctx: Context, seen: JsonObject, wait_s: float) -> JsonObject:
        until = monotonic() + wait_s
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                seen = await self._see(seen["execution_id"])
                await _tell(ctx, seen)
            except CallFailed as failure:
                # The execution goes on when the gateway cannot be reached for a while.
                if failure.outcome_known:
                    raise
            left_s = until - monotonic()
            if seen["finished"] or left_s <= 0:
                return seen
            await anyio.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 1.5, _LAST_PAUSE_S)

    async def _see(self, execution_id: str) -> JsonObject:
        return _show(execution_id, await self._gateway.send(Call("GET", f"{_EXECUTIONS}/{execution_id}")))


async def _tell(ctx: Context, seen: JsonObject) -> None:
    steps: list[JsonObject] = seen.get("steps", [])
    done = sum(step.get("status") in _STEP_ENDED for step in steps)
    await ctx.report_progress(done, len(steps) or None, f"{done} of {len(steps)} steps done, {seen['status']}")


def _show(execution_id: str, execution: dict[str, Any]) -> JsonObject:
    status = execution["status"]
    steps = [_show_step({name: step[name] for name in _SHOWN_OF_STEP}) for step in execution["steps"]]
    rest = without_blanks({"steps": steps, "output": execution.get("output"), "error": execution.get("error")})
    return {"execution_id": execution_id, "status": status, "finished": status in _ENDED, **rest}


def _show_step(step: JsonObject) -> JsonObject:
    return without_blanks({**step, "waiting_for": without_blanks(step["waiting_for"] or {})})


def _show_workflow(workflow: dict[str, Any]) -> JsonObject:
    shown = {name: workflow.get(name) for name in _SHOWN_OF_WORKFLOW}
    return without_blanks({**shown, "inputs": workflow["config"].get("inputs")})
