"""The tool on workflows."""

from __future__ import annotations

from time import monotonic
from typing import Annotated, Any
from uuid import UUID

import anyio
from fastmcp.server.context import Context
from fastmcp.tools import Tool
from mcp_types import ToolAnnotations
from pydantic import Field

from tmws_contracts.common import Metadata
from tmws_mcp_bridge.client import Call, Gateway
from tmws_mcp_bridge.errors import CallFailed
from tmws_mcp_bridge.results import JsonObject, list_schema, object_schema, without_blanks

MAX_WAIT_S = 600
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.1, 1.0
_ENDED = frozenset({"completed", "failed", "cancelled", "timed_out"})
_STEP_ENDED = _ENDED | {"skipped"}
# A step's output may be large, and the workflow says itself what it puts out.
_SHOWN = ("id", "uses", "status", "attempt", "waiting_for", "error")
_STEP = object_schema({"id": "str", "status": "str"})
_OUTPUT = object_schema(
    {"execution_id": "str", "status": "str", "finished": "bool", "steps": list_schema(_STEP), "output": {},
     "error": {}},
    ["execution_id", "status", "finished"],
)  # fmt: skip

WorkflowId = Annotated[UUID, Field(description="of the workflow")]
Parameters = Annotated[Metadata, Field(description="what the workflow's `inputs` ask for")]
Wait = Annotated[float, Field(ge=0, le=MAX_WAIT_S, description="wait so long for the end; 0 returns at once")]


_NO_PARAMETERS: Parameters = {}


class WorkflowTools:
    """Run workflows."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def tools(self) -> list[Tool]:
        """Return the tool on workflows."""
        return [
            Tool.from_function(
                self.execute_workflow,
                annotations=ToolAnnotations(destructive_hint=False, idempotent_hint=False, open_world_hint=True),
                output_schema=_OUTPUT,
            )
        ]

    async def execute_workflow(
        self, workflow_id: WorkflowId, ctx: Context, parameters: Parameters = _NO_PARAMETERS, wait_seconds: Wait = 0
    ) -> JsonObject:
        """Start a workflow; with wait_seconds, wait for its end and return its output and steps.

        Example: {"workflow_id": "0190b5d3-…", "parameters": {"topic": "release 2.1"}, "wait_seconds": 60}
        """
        body = {"parameters": parameters}
        # The key is held while waiting: a client that gives up and calls again joins the same execution.
        with self._gateway.once(Call("POST", f"/api/v1/workflows/{workflow_id}/execute", body)) as call:
            started = await self._gateway.send(call)
            execution_id = started["execution_id"]
            if not wait_seconds:
                return {"execution_id": execution_id, "status": started.get("status", "pending"), "finished": False}
            return await self._wait(ctx, execution_id, monotonic() + wait_seconds)

    async def _wait(self, ctx: Context, execution_id: str, until: float) -> JsonObject:
        seen: JsonObject = {"execution_id": execution_id, "status": "pending", "finished": False}
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                seen = _show(execution_id, await self._gateway.send(Call("GET", f"/api/v1/executions/{execution_id}")))
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


async def _tell(ctx: Context, seen: JsonObject) -> None:
    steps: list[JsonObject] = seen.get("steps", [])
    done = sum(step.get("status") in _STEP_ENDED for step in steps)
    await ctx.report_progress(done, len(steps) or None, f"{done} of {len(steps)} steps done, {seen['status']}")


def _show(execution_id: str, execution: dict[str, Any]) -> JsonObject:
    status = execution["status"]
    steps = [{name: step[name] for name in _SHOWN if step[name] is not None} for step in execution["steps"]]
    rest = without_blanks({"steps": steps, "output": execution.get("output"), "error": execution.get("error")})
    return {"execution_id": execution_id, "status": status, "finished": status in _ENDED, **rest}
