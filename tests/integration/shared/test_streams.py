"""An answer without an end outlives its request's deadline, and ends when the process is told to stop."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest
import uvicorn
from fastapi import APIRouter
from pydantic import SecretStr
from starlette.responses import StreamingResponse

from tmws_shared.app import create_app, server_config
from tmws_shared.auth import InternalTokens, Principal
from tmws_shared.framing import Request
from tmws_shared.http import DEADLINE_HEADER
from tmws_shared.reply import Reply
from tmws_shared.settings import Settings
from tmws_shared.stopping import Stopping
from tmws_shared.upstream import Upstream

SECRET = "the secret of the tests of streams, 32 bytes"
router = APIRouter()


async def ticks() -> AsyncIterator[bytes]:
    while True:
        yield b": tick\n\n"
        await asyncio.sleep(0.05)


@router.get("/ticks")
async def follow() -> StreamingResponse:
    return StreamingResponse(ticks(), media_type="text/event-stream")


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> Stopping:
    fresh = Stopping()
    monkeypatch.setattr("tmws_shared.context.stopping", fresh)
    return fresh


@pytest.fixture
async def service(short_directory: Path) -> AsyncGenerator[Upstream]:
    url = f"unix://{short_directory}/ticks.sock"
    app = create_app("ticks", Settings(secret_key=SecretStr(SECRET)), routers=[router])
    server = uvicorn.Server(server_config(app, url))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    upstream = Upstream(url)
    yield upstream
    await upstream.close()
    server.should_exit = True
    await serving


async def open_ticks(service: Upstream, timeout_s: float = 10) -> Reply:
    token = InternalTokens(SECRET).mint(Principal("tester"), "ticks", "GET")
    headers = [(b"authorization", b"Bearer " + token.encode()), (DEADLINE_HEADER.encode(), b"%d" % (timeout_s * 1000))]
    return await service.ask(Request("GET", b"/ticks", headers), 5)


async def test_stream_outlives_the_deadline_of_its_request(service: Upstream, stopping: Stopping) -> None:
    reply = await open_ticks(service, timeout_s=0.2)
    started = time.monotonic()
    async for _ in reply.pieces(5):
        if time.monotonic() - started > 0.5:
            break
    assert not reply.is_complete
    await reply.close()


async def test_stream_ends_whole_when_the_process_is_told_to_stop(service: Upstream, stopping: Stopping) -> None:
    reply = await open_ticks(service)
    asyncio.get_running_loop().call_later(0.1, stopping.end_all)
    async with asyncio.timeout(5):
        pieces = [piece async for piece in reply.pieces(5)]
    assert reply.is_complete
    assert pieces


async def test_stream_that_begins_later_ends_at_once(service: Upstream, stopping: Stopping) -> None:
    stopping.end_all()
    reply = await open_ticks(service)
    async with asyncio.timeout(5):
        [_ async for _ in reply.pieces(5)]
    assert reply.is_complete
