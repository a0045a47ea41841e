"""A scripted agent: a real MCP client on the real bridge, over stdio, that takes a task and does it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from fastmcp.exceptions import ToolError

from tmws_local.demo.sentences import best_sentence

_LOOK_EVERY_S = 0.15
Tell = Callable[[str], None]


class Agent:
    """Works on tasks that carry a label, with nothing but the tool `manage_task`."""

    def __init__(self, url: str, token: str, label: str, tell: Tell) -> None:
        environment = {"TMWS_URL": url} | ({"TMWS_TOKEN": token} if token else {})
        # The bridge's log would be mixed into what the demo prints; its failures come as answers anyway.
        self._client = Client(
            StdioTransport(sys.executable, ["-m", "tmws_mcp_bridge"], env=environment | {"TMWS_LOG_LEVEL": "error"})
        )
        self._label = label
        self._tell = tell

    async def __aenter__(self) -> Agent:
        """Start the bridge and shake hands."""
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the pipe; the bridge ends by itself."""
        await self._client.close()

    async def tools(self) -> list[str]:
        """Return the names of the tools it was offered."""
        return [tool.name for tool in await self._client.list_tools()]

    async def work_once(self) -> dict[str, Any]:
        """Wait for a task, take it, do it, complete it; return the completed task."""
        while True:
            for task in await self._look():
                if taken := await self._take(task):
                    return await self._complete(taken)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _look(self) -> list[dict[str, Any]]:
        wanted = {"status": "pending", "ready": True, "label": self._label, "sort": "priority"}
        return (await self._manage("list", wanted))["tasks"]

    async def _take(self, task: dict[str, Any]) -> dict[str, Any] | None:
        """With the version it saw: of two agents only one gets it."""
        wanted = {"id": task["id"], "status": "in_progress", "version": task["version"]}
        try:
            taken = (await self._manage("update", wanted))["task"]
        except ToolError as error:
            self._tell(f"could not take it: {error}")
            return None
        self._tell(f'manage_task update: took "{taken["title"]}"')
        return taken

    async def _complete(self, task: dict[str, Any]) -> dict[str, Any]:
        answer = best_sentence(task["title"], task.get("description", ""))
        result = {"answer": answer, "confident": bool(answer)}
        done = (await self._manage("complete", {"id": task["id"], "result": result}))["task"]
        self._tell("manage_task complete: gave its result")
        return done

    async def _manage(self, operation: str, data: dict[str, Any]) -> dict[str, Any]:
        answer = await self._client.call_tool("manage_task", {"operation": operation, "task_data": data})
        return answer.structured_content or {}
