"""Requests to the gateway, each carried out at most once however often it is sent."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from time import monotonic
from typing import Any, cast
from uuid import uuid4

import anyio
import httpx2
from fastmcp.server.dependencies import get_http_headers, get_http_request
from opentelemetry import propagate
from starlette.requests import Request

from tmws_mcp_bridge.errors import CallFailed, NoAnswer, NoCredential, NotRunning, NotTmws, Refused
from tmws_mcp_bridge.settings import BridgeSettings

TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 2.0
# Long enough to sit out the restart of a part of TMWS, short enough for an agent to wait.
PAUSES_S = (0.2, 0.8)
MAX_PAUSE_S = 2.0
INTENT_S = 600.0
MAX_INTENTS = 1024
_CALLER_NOTE = "x-tmws-caller"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the gateway is, and the headers for it: whose request it is, and where from; an empty one is not sent.

    `caller_note` is what a gateway before us wrote of the caller's address; only a gateway can read it.
    """

    url: str
    authorization: str = ""
    forwarded_for: str = ""
    caller_note: str = ""


Locate = Callable[[], Target]


@dataclass(frozen=True, slots=True)
class Call:
    """A request to the gateway. `within` names the tool's argument that holds the body's fields, if one does."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    query: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | None = None
    within: str = ""


def for_one_user(settings: BridgeSettings) -> Locate:
    """Return the target of a bridge that serves one user, with the token it was given or found; read at each call."""

    def locate() -> Target:
        try:
            token = settings.find_token()
        except (OSError, UnicodeDecodeError) as error:
            raise NoCredential("The token cannot be read from the file that TMWS_TOKEN_FILE names.") from error
        if not token.isascii() or not token.isprintable():
            raise NoCredential("TMWS_TOKEN must be one line of printable ASCII.")
        return Target(settings.find_url(), f"Bearer {token}" if token else "")

    return locate


def for_each_caller(settings: BridgeSettings) -> Locate:
    """Return the target of a bridge that serves many: each shows the gateway its own credential, never the bridge's."""

    def locate() -> Target:
        shown = get_http_headers(include={"authorization"}).get("authorization", "")
        request = get_http_request()
        return Target(settings.find_url(), shown, _way_of(request), request.headers.get(_CALLER_NOTE, ""))

    return locate


def _way_of(request: Request) -> str:
    """The X-Forwarded-For of a proxy: a gateway that trusts the bridge blocks who guesses, not everybody behind it."""
    peer = [request.client.host] if request.client else []
    return ", ".join(request.headers.getlist("x-forwarded-for") + peer).encode("ascii", "replace").decode()


class Intents:
    """Idempotency keys of writes whose outcome the client may not know.

    A client that gave up waiting makes the same call again. It then gets the key of the first one, and so its
    answer. Once a caller has been answered, the same call means a new one.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._open: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    @contextmanager
    def once(self, *parts: object) -> Generator[str]:
        """Yield the key for what `parts` describe; it is kept when the block ends without a known outcome."""
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).digest()
        key = self._key(digest)
        try:
            yield key
        except CallFailed as failure:
            if failure.outcome_known:
                self._open.pop(digest, None)
            raise
        else:
            self._open.pop(digest, None)

    def _key(self, digest: bytes) -> str:
        known = self._open.get(digest)
        if known is not None and self._clock() - known[1] < INTENT_S:
            return known[0]
        key = str(uuid4())
        self._open[digest] = (key, self._clock())
        self._open.move_to_end(digest)
        if len(self._open) > MAX_INTENTS:
            self._open.popitem(last=False)
        return key


class Gateway:
    """The gateway, asked in the name of whoever called the tool."""

    def __init__(self, locate: Locate, *, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self._locate = locate
        self._intents = Intents()
        self._transport = transport

    @cached_property
    def _client(self) -> httpx2.AsyncClient:
        """The connections, made at the first call: certificates take a while to load."""
        timeout = httpx2.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        return httpx2.AsyncClient(timeout=timeout, trust_env=False, transport=self._transport)

    @asynccontextmanager
    async def lifespan(self, _server: object) -> AsyncGenerator[None]:
        """Close the connections when the server ends."""
        try:
            yield
        finally:
            if "_client" in self.__dict__:
                await self._client.aclose()

    @contextmanager
    def once(self, call: Call) -> Generator[Call]:
        """Yield the call with its Idempotency-Key; a client's repetition of it gets the same one.

        The block should span all that happens until the client has its answer.
        """
        with self._intents.once(self._locate().authorization, call.method, call.path, call.body) as key:
            yield replace(call, headers={**(call.headers or {}), "idempotency-key": key})

    async def send(self, call: Call) -> Any:
        """Send the call, again when that may help, and return the answer's JSON; None when it has no body.

        Every call may be repeated: reads change nothing, PUT and DELETE say what shall be, POST carries a key.

        Raises:
            CallFailed: with a message for the agent.
        """
        for repeated, pause_s in enumerate((*PAUSES_S, 0.0)):
            target = self._locate()
            try:
                return _read(await self._request(target, call), target, call)
            except Refused as problem:
                if repeated and call.method == "DELETE" and problem.status == 404:
                    return None
                if not problem.is_retryable or not pause_s:
                    raise
                pause_s = max(pause_s, min(problem.wait_s, MAX_PAUSE_S))  # noqa: PLW2901 -- as long as it asked for
            except (NoAnswer, NotRunning) as failure:
                if isinstance(failure.__cause__, httpx2.ReadTimeout) or not pause_s:
                    raise
            _log.info("%s %s is sent again in %.1f s", call.method, call.path, pause_s)
            await anyio.sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")

    async def _request(self, target: Target, call: Call) -> httpx2.Response:
        headers = {**(call.headers or {}), "content-type": "application/json"}
        if target.authorization:
            headers["authorization"] = target.authorization
        if target.forwarded_for:
            headers["x-forwarded-for"] = target.forwarded_for
        if target.caller_note:
            headers[_CALLER_NOTE] = target.caller_note
        propagate.inject(headers)
        content = None if call.body is None else json.dumps(call.body, sort_keys=True).encode()
        try:
            return await self._client.request(
                call.method, target.url + call.path, content=content, params=call.query, headers=headers
            )
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise NotRunning(target.url) from error
        except httpx2.HTTPError as error:
            raise NoAnswer(target.url) from error


def _read(response: httpx2.Response, target: Target, call: Call) -> Any:
    try:
        document = response.json() if response.content else None
    except ValueError:
        document = response.text
    if response.is_success and not isinstance(document, str):
        return document
    if isinstance(document, dict) and "title" in document:
        wait = response.headers.get("retry-after", "")
        wait_s = int(wait) if wait.isdigit() else 0
        raise Refused(response.status_code, cast("dict[str, Any]", document), within=call.within, wait_s=wait_s)
    # A proxy in front of the gateway speaks for itself.
    raise NoAnswer(target.url) if response.status_code in (502, 503, 504) else NotTmws(target.url)
