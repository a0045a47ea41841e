"""A service's real app in this process, called over ASGI as a principal.

async with running(build(settings_for("task", database)), "task") as task:
    answer = await task.call("POST", "/api/v1/tasks", json={"title": "Write the report"})
"""

from collections.abc import AsyncGenerator, Mapping
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
        token = self._tokens.mint(principal, self._name)
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
