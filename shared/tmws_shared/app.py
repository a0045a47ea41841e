"""What every process has in common: how an app is made and how it is served."""

from __future__ import annotations

import asyncio
import gc
import re
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar, Unpack
from urllib.parse import urlsplit

import uvicorn
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp

from tmws_contracts.common import FieldProblem
from tmws_shared import telemetry, upstream_metrics
from tmws_shared.auth import InternalTokens
from tmws_shared.context import RequestContext, Verify, problem_response
from tmws_shared.database import Database, PoolOptions
from tmws_shared.draining import DrainingServer
from tmws_shared.health import Check, health_routes
from tmws_shared.migrations import migrate
from tmws_shared.parent import exit_with_stdin
from tmws_shared.problems import (
    InvalidRequest,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    ProblemError,
    Unavailable,
)
from tmws_shared.protocol import OneWriteProtocol
from tmws_shared.settings import EXIT_CONFIGURATION, ConfigurationError, Settings

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
SettingsType = TypeVar("SettingsType", bound=Settings)

DRAIN_S = 20
GC_THRESHOLDS = (20_000, 20, 20)
# RequestContext makes the span of a request, so that it covers what is refused before a route is known.
NO_SECOND_SPAN: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}
KEEP_ALIVE_S = 75
DATABASE_RETRY_S = 0.25
_PLACES = {"query": "?", "header": "@", "path": "#"}
# pydantic tells parse errors together with the text that could not be parsed
_PARSE_ERROR = re.compile(r"_(parsing|type|inconsistent|delta)$")


class ServiceApp(FastAPI):
    """A FastAPI app with RequestContext around it, in place of the layers that would do the same again."""

    def __init__(self, verify: Verify, **options: Any) -> None:
        super().__init__(**options, telemetry=NO_SECOND_SPAN, docs_url=None, redoc_url=None, redirect_slashes=False)
        self._verify = verify

    def build_middleware_stack(self) -> ASGIApp:
        """Return the layers around the routes: as few as there can be, for every request goes through all of them."""
        handlers = {kind: handler for kind, handler in self.exception_handlers.items() if kind not in (500, Exception)}
        return RequestContext(ExceptionMiddleware(AsyncExitStackMiddleware(self.router), handlers), self._verify)


def create_app(
    name: str,
    settings: Settings,
    *,
    routers: Sequence[APIRouter] = (),
    lifespan: Lifespan | None = None,
    checks: dict[str, Check] | None = None,
) -> FastAPI:
    """Return the app of a service: its routes behind the internal token, health, metrics, problem documents.

    What the app needs to be ready is in `app.state.checks`; the lifespan may add to it.
    """
    tokens = InternalTokens(settings.secret_key.get_secret_value())
    app = ServiceApp(lambda token, method: tokens.verify(token, name, method), title=f"TMWS {name}", lifespan=lifespan)
    app.state.checks = dict(checks or {})
    # Not included but added: in a router of its own a route would be looked for twice.
    for router in (health_routes(), *routers):
        app.router.routes.extend(router.routes)
    answer_with_problems(app)
    return app


def answer_with_problems(app: FastAPI) -> None:
    """Make problem documents of everything that can be wrong with a request."""
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)


@asynccontextmanager
async def open_database(
    settings: Settings, package: str, schema: str, **pool: Unpack[PoolOptions]
) -> AsyncGenerator[Database]:
    """Wait for the database, bring the schema up to date and yield a pool; closed afterwards."""
    url = settings.database_url.get_secret_value()
    while True:
        try:
            await migrate(url, package, schema)
            database = await Database.connect(url, name=package, **pool)
            break
        except Unavailable:
            await asyncio.sleep(DATABASE_RETRY_S)
    try:
        yield database
    finally:
        await database.close()


def serve(name: str, settings_type: type[SettingsType], build: Callable[[SettingsType], Any], **options: Any) -> None:
    """Read the settings, build the app and serve it until a signal; exits 78 when a setting is wrong.

    `options` are uvicorn's.
    """
    try:
        settings = settings_type.from_environment()
    except ConfigurationError as error:
        sys.exit(refuse(error))
    telemetry.set_up(name, settings.log_level)
    upstream_metrics.register()
    if settings.exit_with_stdin:
        exit_with_stdin()
    _allow_many_files()
    # uvicorn raises the signal again once it has drained; a stop that was asked for is a success.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    try:
        app = build(settings)
        # Everything imported stays for good: no collection, and not the exit either (0.5 s), has to walk it again.
        gc.freeze()
        # A request makes thousands of objects that die by themselves; looking at them every 700 costs a tenth of it.
        gc.set_threshold(*GC_THRESHOLDS)
        DrainingServer(server_config(app, settings.listen, **options)).run()
    except ConfigurationError as error:
        sys.exit(refuse(error))


def _allow_many_files() -> None:
    """Take as many open files as we may: every connection is one, and the usual limit is 1,024."""
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def refuse(error: ConfigurationError) -> int:
    """Say every problem on stderr and return the exit code."""
    sys.stderr.write("TMWS cannot start:\n" + "".join(f"  - {problem}\n" for problem in error.problems))
    return EXIT_CONFIGURATION


def server_config(app: Any, listen: str, **options: Any) -> uvicorn.Config:
    """Return uvicorn's configuration for `unix:///path.sock` or `http://host:port`."""
    parts = urlsplit(listen)
    if parts.scheme == "unix":
        Path(parts.path).unlink(missing_ok=True)
        options["uds"] = parts.path
    else:
        options |= {"host": parts.hostname or "127.0.0.1", "port": parts.port or 8000}
    options.setdefault("http", OneWriteProtocol)
    return uvicorn.Config(
        app,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=DRAIN_S,
        timeout_keep_alive=KEEP_ALIVE_S,
        ws="none",
        **options,
    )


def _exit(number: int, frame: object) -> None:
    sys.exit(0)


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101 -- registered for this type
    return problem_response(error, request.url.path)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 -- registered for this type
    problems = [explain(dict(item)) for item in error.errors()]
    if any(item["type"] == "json_invalid" for item in error.errors()):
        return problem_response(MalformedRequest("The body is not valid JSON.", errors=problems), request.url.path)
    detail = "; ".join(f"{item.pointer or 'body'}: {item.detail}" for item in problems[:3])
    return problem_response(InvalidRequest(detail, errors=problems), request.url.path)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 -- registered for this type
    if error.status_code == 405:
        return problem_response(MethodNotAllowed(headers=error.headers), request.url.path)
    return problem_response(NotFound() if error.status_code == 404 else MalformedRequest(), request.url.path)


def explain(error: dict[str, Any]) -> FieldProblem:
    """Return pydantic's error as a field problem that does not repeat the rejected value."""
    place, *path = error["loc"] or ("body",)
    if error["type"] == "json_invalid":
        return FieldProblem(pointer="", detail="must be valid JSON")
    detail = str(error["msg"]).removeprefix("Value error, ")
    if _PARSE_ERROR.search(error["type"]):
        detail = detail.partition(", ")[0]
    if place in _PLACES:
        return FieldProblem(pointer=f"{_PLACES[place]}{path[0]}", detail=detail)
    return FieldProblem(pointer="".join(f"/{_escape(part)}" for part in path), detail=detail)


def _escape(part: object) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")
