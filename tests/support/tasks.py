"""Tasks as tests make and take them.

board = Board(service)                       # of one namespace
task = await board.create(title="x")         # the task
claimed = await board.claim("agent")         # the tasks it was given
"""

from __future__ import annotations

from typing import Any

import httpx2

from support.service import ServiceUnderTest
from tmws_shared.clock import new_id

PATH = "/api/v1/tasks"
LEASE_S = 60


class Board:
    """The tasks of a namespace of its own."""

    def __init__(self, service: ServiceUnderTest, namespace: str | None = None) -> None:
        self._service = service
        self.namespace = namespace or f"n-{new_id()}"

    async def call(self, method: str, path: str = "", **request: Any) -> httpx2.Response:
        """Send a request below /api/v1/tasks."""
        return await self._service.call(method, PATH + path, namespace=self.namespace, **request)

    async def create(self, **fields: Any) -> dict[str, Any]:
        """Create a task."""
        answer = await self.call("POST", json={"title": "A task", **fields})
        if answer.status_code != 201:
            raise AssertionError(answer.text)
        return answer.json()

    async def get(self, task_id: str) -> dict[str, Any]:
        """Return a task."""
        return (await self.call("GET", f"/{task_id}")).json()

    async def try_claim(self, agent: str, **wanted: Any) -> httpx2.Response:
        """Claim, and return the answer."""
        persona = wanted.pop("persona", None)
        body = {"agent_id": agent, "lease_seconds": LEASE_S, **wanted}
        return await self.call("POST", "/claim", json=body, persona=persona)

    async def claim(self, agent: str = "agent", **wanted: Any) -> list[dict[str, Any]]:
        """Claim, and return the tasks."""
        answer = await self.try_claim(agent, **wanted)
        if answer.status_code != 200:
            raise AssertionError(answer.text)
        return answer.json()["items"]

    async def post(self, task: dict[str, Any] | str, verb: str, **body: Any) -> httpx2.Response:
        """Do something with a task."""
        task_id = task if isinstance(task, str) else task["id"]
        return await self.call("POST", f"/{task_id}/{verb}", json=body)

    async def complete(self, task: dict[str, Any], **body: Any) -> httpx2.Response:
        """Complete a task, with its token when it was claimed."""
        token = {"claim_token": task["claim_token"]} if "claim_token" in task else {}
        return await self.post(task, "complete", **token, **body)

    async def events(self, task: dict[str, Any] | str) -> list[dict[str, Any]]:
        """Return a task's history."""
        task_id = task if isinstance(task, str) else task["id"]
        return (await self.call("GET", f"/{task_id}/events", params={"limit": 200})).json()["items"]

    async def actions(self, task: dict[str, Any] | str) -> list[str]:
        """Return what was done to a task."""
        return [event["action"] for event in await self.events(task)]
