"""Workflows for tests that run them through the public API."""

import time
from collections.abc import Callable
from typing import Any

import httpx2

ENDED = frozenset({"completed", "failed", "cancelled", "timed_out"})
TIMEOUT_S = 60.0


def save_workflow(api: httpx2.Client, *steps: dict[str, Any], workflow_type: str = "dag", **config: Any) -> str:
    """Save a workflow of these steps and return its id."""
    body = {"name": "e2e", "workflow_type": workflow_type, "config": {"steps": list(steps), **config}}
    answer = api.post("/api/v1/workflows", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def execute(api: httpx2.Client, workflow_id: str, **parameters: Any) -> str:
    """Execute the workflow and return the execution's id."""
    answer = api.post(f"/api/v1/workflows/{workflow_id}/execute", json={"parameters": parameters})
    assert answer.status_code == 202, answer.text
    return answer.json()["execution_id"]


def wait_for_end(api: httpx2.Client, execution_id: str) -> dict[str, Any]:
    """Return the execution once it has ended; a part of the stack may be down meanwhile."""
    return _wait(api, execution_id, lambda execution: execution["status"] in ENDED)


def wait_for_step(api: httpx2.Client, execution_id: str, step: str, status: str) -> dict[str, Any]:
    """Return the execution once a step of it has this status."""

    def is_there(execution: dict[str, Any]) -> bool:
        return any(each["id"] == step and each["status"] == status for each in execution["steps"])

    return _wait(api, execution_id, is_there)


def journal(api: httpx2.Client, execution_id: str) -> list[dict[str, Any]]:
    """Return the whole journal of an execution."""
    return api.get(f"/api/v1/executions/{execution_id}/events", params={"limit": 200}).json()["items"]


def _wait(api: httpx2.Client, execution_id: str, is_over: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        answer = api.get(f"/api/v1/executions/{execution_id}")
        if answer.status_code == 200 and is_over(answer.json()):
            return answer.json()
        if time.monotonic() > deadline:
            raise TimeoutError(answer.text)
        time.sleep(0.05)
