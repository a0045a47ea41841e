"""The MCP server: the tools over one gateway, and what holds for all of them."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import Any

import httpx2
from fastmcp import FastMCP
from fastmcp.exceptions import ValidationError
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from mcp_types import CallToolRequestParams
from pydantic import ValidationError as PydanticValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from tmws_mcp_bridge.client import Gateway, Locate, for_each_caller
from tmws_mcp_bridge.errors import CallFailed, InvalidArguments
from tmws_mcp_bridge.settings import BridgeSettings
from tmws_mcp_bridge.tools.memory import MemoryTools
from tmws_mcp_bridge.tools.task import TaskTools
from tmws_mcp_bridge.tools.workflow import WorkflowTools

INSTRUCTIONS = """TMWS is the shared memory and task board of a team of agents. Search before you ask or guess, store \
what others will need, take tasks from the board and complete them with a result."""


_log = logging.getLogger(__name__)


class PlainErrors(Middleware):
    """Tells an agent which argument is wrong, without a library's wording or the rejected value."""

    async def on_call_tool(
        self, context: MiddlewareContext[CallToolRequestParams], call_next: CallNext[CallToolRequestParams, Any]
    ) -> Any:
        """Call the tool.

        Raises:
            InvalidArguments: the arguments do not fit its schema.
        """
        try:
            return await call_next(context)
        except ValidationError as error:
            if isinstance(error.__cause__, PydanticValidationError):
                raise InvalidArguments.of(error.__cause__) from None
            raise
        except CallFailed as failure:
            _log.info("%s: %s", context.message.name, failure)
            raise


def create_server(locate: Locate, *, transport: httpx2.AsyncBaseTransport | None = None) -> FastMCP[None]:
    """Return the server for the gateway that `locate` finds."""
    gateway = Gateway(locate, transport=transport)
    tools = [*MemoryTools(gateway).tools(), *TaskTools(gateway).tools(), *WorkflowTools(gateway).tools()]
    return FastMCP(
        "tmws",
        INSTRUCTIONS,
        version=version("tmws-mcp-bridge"),
        tools=tools,
        middleware=[PlainErrors()],
        lifespan=gateway.lifespan,
        strict_input_validation=True,
        mask_error_details=True,
    )


def create_http_app(settings: BridgeSettings, host: str) -> Starlette:
    """Return the streamable HTTP app: stateless, and each caller's own credential goes to the gateway."""
    server = create_server(for_each_caller(settings))

    @server.custom_route("/livez", methods=["GET"])
    async def livez(_request: Request) -> Response:
        return Response(status_code=200)

    return server.http_app(
        stateless_http=True,
        host_origin_protection=True,
        allowed_hosts=[name for name in (host, settings.public_host) if name],
    )
