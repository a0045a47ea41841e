"""A gateway for unit tests of the MCP bridge: answers as told, in order, and keeps what it was asked.

gateway = ScriptedGateway((201, {"id": "…"}))
async with gateway.client() as tools:
    await tools.call_tool("store_memory", {"content": "x"})
assert gateway.asked[0].method == "POST"

An exception in place of an answer is raised, as a broken connection would.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from fastmcp import Client

from tmws_mcp_bridge.client import Target
from tmws_mcp_bridge.profile import Profile
from tmws_mcp_bridge.server import create_server

URL = "http://gateway"
Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]] | Exception


class ScriptedGateway:
    """Answers one request after the other; the last answer is repeated."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.asked: list[httpx2.Request] = []
        self.authorization = ""

    def answer_next(self, answer: Answer) -> None:
        """Answer the next request so."""
        self._answers.insert(0, answer)

    def body(self, place: int = 0) -> Any:
        """Return the JSON body of a request."""
        return json.loads(self.asked[place].content)

    def key(self, place: int = 0) -> str:
        """Return the Idempotency-Key of a request."""
        return self.asked[place].headers["idempotency-key"]

    @asynccontextmanager
    async def client(self, profile: Profile = Profile.CORE, **options: Any) -> AsyncGenerator[Client[Any]]:
        """Yield an MCP client of a bridge to this gateway."""
        transport = httpx2.MockTransport(self._answer)
        server = create_server(lambda: Target(URL, self.authorization), profile=profile, transport=transport)
        async with Client(server, **options) as client:
            yield client

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        status, document, *rest = answer
        content = b"" if document is None else json.dumps(document).encode()
        return httpx2.Response(status, content=content, headers=rest[0] if rest else None)
