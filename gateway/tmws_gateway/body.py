"""Reads a request's body: within its limit and its time, and as strict JSON."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any, cast

import orjson
from starlette.types import Message, Receive, Scope

from tmws_gateway.errors import RequestTimeout
from tmws_gateway.exchange import Exchange
from tmws_gateway.guard import check_body_type, check_stream_type
from tmws_shared.problems import ContentTooLarge, MalformedRequest
from tmws_shared.strict_json import read_json

# For a whole body; for the next piece of one that is streamed.
READ_TIMEOUT_S = 10.0
# Above this, checking takes long enough to keep the event loop from others.
THREAD_FROM_BYTES = 64 * 1024
_AUDITED_FIELDS = 32
_AUDITED_NAME = 64


class ClientGone(Exception):
    """The caller closed the connection before the body was complete."""


async def until_gone(receive: Receive) -> None:
    """Return when the caller has closed the connection; the body has been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def read_body(scope: Scope, receive: Receive, exchange: Exchange, limit_bytes: int) -> Receive:
    """Check the body of a request that has one, and return a `receive` that gives it again.

    Raises:
        ProblemError: it is too large, too slow, of another type or not strict JSON.
    """
    declared = _declared_bytes(exchange.given)
    if declared > limit_bytes:
        raise _too_large(limit_bytes)
    if declared != 0:
        check_body_type(scope)
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            body = await _collect(receive, limit_bytes)
    except TimeoutError:
        raise RequestTimeout(
            f"The body must arrive within {READ_TIMEOUT_S:.0f} seconds.", headers={"Connection": "close"}
        ) from None
    if body:
        is_large = len(body) > THREAD_FROM_BYTES
        exchange.changed_fields = await asyncio.to_thread(_read_fields, body) if is_large else _read_fields(body)
    return _replay(body, receive)


def pass_body(scope: Scope, receive: Receive, exchange: Exchange, limit_bytes: int) -> Receive:
    """Return a `receive` that passes a streamed body on, counted, and waits for no piece of it for long.

    Raises:
        ProblemError: there is none, it is too large, or of another type.
    """
    if not has_body(exchange.given):
        raise MalformedRequest("body: must be given")
    if _declared_bytes(exchange.given) > limit_bytes:
        raise _too_large(limit_bytes)
    check_stream_type(scope)
    passed_bytes, is_whole = 0, False

    async def count() -> Message:
        nonlocal passed_bytes, is_whole
        if is_whole:
            return await receive()
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                message = await receive()
        except TimeoutError:
            raise RequestTimeout(
                f"The body must not pause for {READ_TIMEOUT_S:.0f} seconds.", headers={"Connection": "close"}
            ) from None
        passed_bytes += len(message.get("body", b""))
        if passed_bytes > limit_bytes:
            raise _too_large(limit_bytes)
        is_whole = not message.get("more_body", False)
        return message

    return count


def has_body(given: Mapping[bytes, bytes]) -> bool:
    """Whether a request with these headers has a body, be it an empty one."""
    return b"content-length" in given or b"transfer-encoding" in given


def _declared_bytes(given: Mapping[bytes, bytes]) -> int:
    """Content-Length, or -1 for a chunked body."""
    return int(given.get(b"content-length", -1))


async def _collect(receive: Receive, limit_bytes: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > limit_bytes:
            raise _too_large(limit_bytes)
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(limit_bytes: int) -> ContentTooLarge:
    # The rest of the body is not read, so the connection cannot be used again.
    return ContentTooLarge(f"The body must not be larger than {limit_bytes} bytes.", headers={"Connection": "close"})


def _read_fields(body: bytes) -> list[tuple[str, bytes]]:
    value = read_json(body)
    if not isinstance(value, dict):
        return []
    fields = list(cast("dict[str, Any]", value).items())[:_AUDITED_FIELDS]
    return [(name[:_AUDITED_NAME], _value_hash(value)) for name, value in fields]


def _value_hash(value: Any) -> bytes:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).digest()


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
