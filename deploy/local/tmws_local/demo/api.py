"""The REST API as the demo uses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self

import httpx2

from tmws_local.errors import StackError

_ATTEMPTS = 6
_TIMEOUT_S = 30.0
_LATER = frozenset({429, 503})


class DemoFailed(StackError):
    """Something did not do what the demo shows."""


class Api:
    """Sends requests to one gateway."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._client = httpx2.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT_S, trust_env=False)

    async def __aenter__(self) -> Self:
        """Open the connections."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def get(self, path: str, **query: Any) -> Any:
        """Return the answer to a GET."""
        return await self.call("GET", path, query=query)

    async def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the answer to a POST."""
        return await self.call("POST", path, body)

    async def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, query: dict[str, Any] | None = None
    ) -> Any:
        """Return the answer's JSON, or None when it has no body; waits when told to come again later.

        Raises:
            DemoFailed: the request was refused or could not be sent.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer = await self._client.request(method, f"/api/v1{path}", json=body, params=query)
            except httpx2.HTTPError as error:
                raise DemoFailed(f"{method} {path}: {type(error).__name__}; is TMWS still running?") from error
            if answer.status_code not in _LATER or attempt == _ATTEMPTS:
                return _content(answer, method, path)
            await asyncio.sleep(float(answer.headers.get("retry-after", 1)))
        raise AssertionError("the last attempt returns or raises")


@asynccontextmanager
async def cleaning(clean: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
    """Clean up at the end; when the block failed, that failure is the one to tell."""
    try:
        yield
    except BaseException:
        with suppress(DemoFailed):
            await clean()
        raise
    await clean()


def _content(answer: httpx2.Response, method: str, path: str) -> Any:
    if answer.is_success:
        return answer.json() if answer.content else None
    raise DemoFailed(f"{method} {path} was answered {answer.status_code}: {answer.text[:400]}")
