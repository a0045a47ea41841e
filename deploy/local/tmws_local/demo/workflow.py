"""Third part: a workflow whose task an agent does over MCP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Any

from tmws_local.demo.agent import Agent
from tmws_local.demo.api import Api, DemoFailed, cleaning
from tmws_local.demo.memory import TAG
from tmws_local.demo.screen import Screen
from tmws_local.demo.tasks import LABEL

NAME = "TMWS demo: answer from memory"
AGENTS_LABEL = "tmws-demo-agent"
_ANSWERS_TAG = "demo-answer"
_QUESTION = "What happens to a step when its worker dies?"
_LOOK_EVERY_S = 0.05
_TIMEOUT_S = 30.0
_ENDED = frozenset({"completed", "failed", "cancelled", "timed_out"})
_EXPECTED = {"recall": "completed", "brief": "completed", "answer": "completed", "keep": "completed",
             "doubt": "skipped"}  # fmt: skip
_RETRY = {"max_attempts": 3, "initial": "1s", "factor": 2}
DEFINITION: dict[str, Any] = {
    "name": NAME,
    "workflow_type": "dag",
    "priority": "high",
    "config": {
        "inputs": {"type": "object", "required": ["question"], "properties": {"question": {"type": "string"}}},
        "steps": [
            {
                "id": "recall",
                "uses": "memory.search",
                "with": {"query": "${{ inputs.question }}", "limit": 3, "filters": {"tags": [TAG]}},
                "retry": _RETRY,
            },
            {
                "id": "brief",
                "uses": "transform",
                "needs": ["recall"],
                "with": {
                    "found": "${{ size(steps.recall.output.results) }}",
                    "text": "${{ steps.recall.output.results[0].content }}",
                },
            },
            {
                "id": "answer",
                "uses": "task",
                "needs": ["brief"],
                "if": "steps.brief.output.found > 0",
                "timeout": "20s",
                "with": {
                    "title": "Answer: ${{ inputs.question }}",
                    "description": "${{ steps.brief.output.text }}",
                    "assigned_persona": "muses",
                    "labels": [LABEL, AGENTS_LABEL],
                    "metadata": {"name": "answer"},
                },
            },
            {
                "id": "keep",
                "uses": "memory.store",
                "needs": ["answer"],
                "if": "steps.answer.output.result.confident",
                "with": {
                    "content": "${{ inputs.question }}\n${{ steps.answer.output.result.answer }}",
                    "tags": [_ANSWERS_TAG],
                    "tier": "short_term",
                    "importance": 0.6,
                    "metadata": {"source": "workflow", "heading": NAME},
                },
                "retry": _RETRY,
            },
            {
                "id": "doubt",
                "uses": "transform",
                "needs": ["answer"],
                "if": "!steps.answer.output.result.confident",
                "with": {"note": "nobody knew"},
            },
        ],
        "output": {"answer": "${{ steps.answer.output.result.answer }}", "memory": "${{ steps.keep.output.id }}"},
    },
}


@asynccontextmanager
async def saved(api: Api) -> AsyncGenerator[str]:
    """Save the workflow, yield its id, and delete it afterwards, with any that an interrupted run left."""
    await _clear(api)
    workflow = await api.post("/workflows", DEFINITION)
    async with cleaning(partial(_clear, api)):
        yield workflow["id"]


async def _clear(api: Api) -> None:
    for workflow in (await api.get("/workflows", name=NAME, limit=200))["items"]:
        if workflow["status"] == "in_progress":
            await api.post(f"/workflows/{workflow['id']}/cancel")
            await _wait_until_closed(api, workflow["id"])
        await api.call("DELETE", f"/workflows/{workflow['id']}")


async def _wait_until_closed(api: Api, workflow_id: str) -> None:
    async with asyncio.timeout(_TIMEOUT_S):
        while True:
            if (await api.get(f"/workflows/{workflow_id}/status"))["status"] in _ENDED:
                return
            await asyncio.sleep(_LOOK_EVERY_S)


async def run(api: Api, screen: Screen, agent: Agent, workflow_id: str) -> None:
    """Run the workflow while the agent works, and show each step as it changes.

    Raises:
        DemoFailed: it did not end as it should, or not in time.
    """
    started = perf_counter()
    execution_id = (await api.post(f"/workflows/{workflow_id}/execute", {"parameters": {"question": _QUESTION}}))[
        "execution_id"
    ]
    work = asyncio.create_task(agent.work_once())
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            execution = await _follow(api, screen, execution_id, started)
            await work
    except TimeoutError:
        raise DemoFailed(f"the workflow did not end within {_TIMEOUT_S:.0f} s") from None
    finally:
        work.cancel()
    _check(execution)
    screen.gap()
    screen.say(f'Result: "{execution["output"]["answer"]}"', 2, hanging=2)
    screen.say(f"kept as memory {execution['output']['memory']}, for whoever asks next.", 2)


async def _follow(api: Api, screen: Screen, execution_id: str, started: float) -> dict[str, Any]:
    seen: dict[str, str] = {}
    while True:
        execution = await api.get(f"/executions/{execution_id}")
        for step in execution["steps"]:
            if seen.get(step["id"], "pending") != step["status"]:
                seen[step["id"]] = step["status"]
                screen.row(f"{perf_counter() - started:6.2f} s  {step['id']:<8} {step['uses']:<14} {_state(step)}")
        if execution["status"] in _ENDED:
            screen.row(f"{perf_counter() - started:6.2f} s  the execution is {execution['status']}")
            return execution
        await asyncio.sleep(_LOOK_EVERY_S)


def _state(step: dict[str, Any]) -> str:
    waiting = step.get("waiting_for")
    return f"{step['status']} for a {waiting['what']}" if step["status"] == "waiting" and waiting else step["status"]


def _check(execution: dict[str, Any]) -> None:
    found = {step["id"]: step["status"] for step in execution["steps"]}
    if execution["status"] != "completed" or found != _EXPECTED:
        raise DemoFailed(f"the workflow is {execution['status']}, its steps {found}, its error {execution['error']}")
