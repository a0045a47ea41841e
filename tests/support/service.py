"""A service's real app in this process, called over ASGI as a principal.

async with running(app_of(build, settings_for(TaskSettings, "task", database)), "task") as task:
    answer = await task.call("POST", "/api/v1/tasks", json={"title": "Write the report"})
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx2
from fastapi import FastAPI
from pydantic import SecretStr

from support.postgres import DatabaseUrls
from tmws_contracts.scopes import SCOPES
from tmws_shared.auth import InternalTokens, Principal
from tmws_shared.settings import Settings

SECRET = "the internal secret of the tests, 32 bytes or more"
SettingsType = TypeVar("SettingsType", bound=Settings)


def settings_for(
    kind: type[SettingsType], service: str, database: DatabaseUrls, redis_url: str = "", **others: Any
) -> SettingsType:
    """Return the settings of a service that uses this database."""
    urls = {"database_url": SecretStr(database.for_service(service)), "redis_url": SecretStr(redis_url)}
    return kind.model_validate({"secret_key": SecretStr(SECRET), **urls, **others})


_made: deque[tuple[Any, Settings, FastAPI]] = deque(maxlen=8)


def app_of(build: Callable[[SettingsType], FastAPI], settings: SettingsType) -> FastAPI:
    """Return the app of these settings, the same for all tests of a file: making its routes takes 0.1 s."""
    for maker, known, app in _made:
        if maker is build and known == settings:
            return app
    app = build(settings)
    _made.append((build, settings, app))
    return app


class InternalAuth(httpx2.Auth):
    """Shows a service a token for each request that says nothing of its caller."""

    def __init__(self, secret: str, audience: str) -> None:
        self._tokens = InternalTokens(secret)
        self._audience = audience

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response]:
        """Add the token."""
        token = self._tokens.mint(Principal("tester"), self._audience, request.method)
        request.headers.setdefault("authorization", f"Bearer {token}")
        yield request


class ServiceUnderTest:
    """Calls one app with internal tokens."""

    def __init__(self, app: FastAPI, name: str) -> None:
        self.app = app
        self._name = name
        self._tokens = InternalTokens(SECRET)
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://service")

    async def call(
        self,
        method: str,
        path: str,
        *,
        namespace: str = "default",
        scopes: frozenset[str] = SCOPES,
        persona: str | None = None,
        headers: Mapping[str, str] | None = None,
        **request: Any,
    ) -> httpx2.Response:
        """Send a request as somebody of a namespace."""
        principal = Principal("tester", namespace, scopes, persona)
        token = self._tokens.mint(principal, self._name, method)
        return await self.client.request(
            method, path, headers={"Authorization": f"Bearer {token}", **(headers or {})}, **request
        )


@asynccontextmanager
async def running(app: FastAPI, name: str) -> AsyncGenerator[ServiceUnderTest]:
    """Start the app as a server would, and stop it afterwards."""
    async with app.router.lifespan_context(app):
        service = ServiceUnderTest(app, name)
        async with service.client:
            yield service
