"""Standard input and output, on which each request gets an answer, also one that is no strict JSON.

The SDK drops a line that it cannot read: strict JSON has no lone surrogate, which a client's language may well write.
The client would wait until it gives up. What Python's own reader finds an id in is answered here, as an error.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

from fastmcp import FastMCP
from fastmcp.server.mixins import transport
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp_types import INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError
from pydantic import ValidationError

from tmws_mcp_bridge.results import JsonObject

UNREADABLE = "The message cannot be read: it has half of a surrogate pair, or is nested too deeply. Leave that out."
NO_REQUEST = "The message is no JSON-RPC request."
_OF_AN_ANSWER = {"result", "error"}


def serve(server: FastMCP[None]) -> None:
    """Serve MCP on standard input and output until the client goes away."""
    # fastmcp takes no streams of ours.
    transport.stdio_server = answering_stdio  # pyright: ignore[reportPrivateImportUsage]
    server.run("stdio", show_banner=False)


@asynccontextmanager
async def answering_stdio() -> AsyncGenerator[tuple[Any, Any]]:
    """Yield the streams of the SDK; what it cannot read is answered."""
    async with stdio_server() as (reading, writing):
        yield Answering(reading, writing), writing


class Answering:
    """A stream of messages that answers those which cannot be read, where they say to whom."""

    def __init__(self, reading: Any, writing: Any) -> None:
        self._reading = reading
        self._writing = writing

    @property
    def last_context(self) -> Any:
        """The context that the last message was sent in."""
        return self._reading.last_context

    async def __aenter__(self) -> Answering:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Answering:
        return self

    async def __anext__(self) -> Any:
        item = await anext(self._reading)
        while (answer := error_for(item)) is not None:
            await self._writing.send(SessionMessage(answer))
            item = await anext(self._reading)
        return item

    async def aclose(self) -> None:
        """Read no more."""
        await self._reading.aclose()


def error_for(item: object) -> JSONRPCError | None:
    """Return the answer to a line that was refused; None to a message, and to what nobody waits for an answer to."""
    if not isinstance(item, ValidationError):
        return None
    errors = item.errors(include_url=False, include_context=False)
    is_unreadable = errors[0]["type"] == "json_invalid"
    message = _read(errors[0]["input"]) if is_unreadable else _whole([error["input"] for error in errors])
    request_id: Any = message.get("id")
    if not isinstance(request_id, str | int) or isinstance(request_id, bool) or message.keys() & _OF_AN_ANSWER:
        return None
    code, words = (PARSE_ERROR, UNREADABLE) if is_unreadable else (INVALID_REQUEST, NO_REQUEST)
    return JSONRPCError(jsonrpc="2.0", id=request_id, error=ErrorData(code=code, message=words))


def _read(line: str) -> JsonObject:
    """The object in a line that strict JSON refuses; an empty one when there is none."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return _whole([document])


def _whole(inputs: list[Any]) -> JsonObject:
    """The first object among what was refused: a field that is missing is reported with all of its message."""
    objects = [cast("JsonObject", refused) for refused in inputs if isinstance(refused, dict)]
    return objects[0] if objects else {}
