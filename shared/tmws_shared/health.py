"""Whether a process is alive and ready, and its metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.metadata import version

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from tmws_shared.problems import ProblemError, Unavailable
from tmws_shared.redis import RedisDown
from tmws_shared.stopping import stopping

Check = Callable[[], Awaitable[None]]
CHECK_TIMEOUT_S = 2.0
VERSION = version("tmws-shared")
PATHS = frozenset({"/livez", "/readyz", "/metrics"})


def health_routes() -> APIRouter:
    """Return the routes `/livez`, `/readyz` (every check of `app.state.checks` passes) and `/metrics`."""
    router = APIRouter(include_in_schema=False)

    @router.get("/livez")
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz")
    async def readyz(request: Request) -> dict[str, str]:
        if stopping.is_over:
            raise Unavailable("not ready: the process is stopping")
        checks: dict[str, Check] = request.app.state.checks
        failed = [
            name
            for name, is_well in zip(checks, await asyncio.gather(*map(_passes, checks.values())), strict=True)
            if not is_well
        ]
        if failed:
            raise Unavailable(f"not ready: {', '.join(failed)}")
        return {"status": "ready", "version": VERSION}

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router


async def _passes(check: Check) -> bool:
    try:
        await asyncio.wait_for(check(), CHECK_TIMEOUT_S)
    except (ProblemError, RedisDown, TimeoutError, OSError):
        return False
    return True
