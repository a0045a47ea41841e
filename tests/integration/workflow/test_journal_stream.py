"""The journal as a stream, over a real server."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import orjson
import pytest
import uvicorn
from fastapi import FastAPI

from support.service import SECRET
from support.workflow_engine import Engine
from tmws_contracts.scopes import SCOPES
from tmws_shared.app import server_config
from tmws_shared.auth import InternalTokens, Principal
from tmws_shared.database import Database
from tmws_shared.http import DEADLINE_HEADER
from tmws_workflow.app import build
from tmws_workflow.journal_stream import POLL_S, JournalStreams

Json = dict[str, Any]
QUICK = {"id": "a", "uses": "transform", "with": {"x": 1}}
SOON = {"id": "a", "uses": "delay", "with": {"duration": "700ms"}}
HOLD = {"id": "hold", "uses": "delay", "with": {"duration": "1h"}}
CALLER = Principal("tester", "default", SCOPES)


@dataclass
class Served:
    """A workflow service behind a socket."""

    app: FastAPI
    client: httpx2.AsyncClient

    @property
    def streams(self) -> JournalStreams:
        return self.app.state.journal_streams


def client_of(path: Path, principal: Principal = CALLER) -> httpx2.AsyncClient:
    token = InternalTokens(SECRET).mint(principal, "workflow", "GET")
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    transport = httpx2.AsyncHTTPTransport(uds=str(path))
    return httpx2.AsyncClient(transport=transport, base_url="http://workflow", headers=headers, timeout=20)


@pytest.fixture
async def served(engine: Engine, folder: Path) -> AsyncGenerator[Served]:
    app, path = build(engine.settings()), folder / "workflow.sock"
    server = uvicorn.Server(server_config(app, f"unix://{path}"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    async with client_of(path) as client:
        yield Served(app, client)
    server.should_exit = True
    await serving


@pytest.fixture
async def worker(engine: Engine) -> AsyncGenerator[None]:
    async with engine.worker():
        yield


@dataclass
class Event:
    id: int = 0
    type: str = ""
    data: Json = field(default_factory=dict[str, Any])


@asynccontextmanager
async def watching(client: httpx2.AsyncClient, execution_id: str, **headers: str) -> AsyncGenerator[httpx2.Response]:
    async with client.stream("GET", f"/api/v1/executions/{execution_id}/events", headers=headers) as answer:
        yield answer


async def events_in(answer: httpx2.Response) -> AsyncGenerator[Event]:
    event = Event()
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        match name:
            case "id":
                event.id = int(value)
            case "event":
                event.type = value
            case "data":
                event.data = orjson.loads(value)
            case "" if event.id:
                yield event
                event = Event()
            case _:
                pass


async def all_events(client: httpx2.AsyncClient, execution_id: str, **headers: str) -> list[Event]:
    async with watching(client, execution_id, **headers) as answer:
        assert answer.status_code == 200
        return [event async for event in events_in(answer)]


async def becomes_idle(streams: JournalStreams) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(3):
            while not streams.is_idle:
                await asyncio.sleep(0.02)
    return streams.is_idle


async def test_stream_tells_what_happens_and_ends_with_the_execution(
    engine: Engine, served: Served, worker: None
) -> None:
    execution_id = await engine.start(SOON)
    async with watching(served.client, execution_id) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [event async for event in events_in(answer)]
    journal = await engine.journal(execution_id)
    assert [event.data for event in events] == journal
    assert [event.id for event in events] == list(range(1, len(journal) + 1))
    assert [event.type for event in events] == [line["type"] for line in journal]
    assert events[-1].type == "execution.completed"
    assert await becomes_idle(served.streams)


async def test_event_comes_while_the_execution_is_open(engine: Engine, served: Served, worker: None) -> None:
    execution_id = await engine.start(HOLD)
    await engine.reached(execution_id, "hold", "waiting")
    async with watching(served.client, execution_id) as answer, asyncio.timeout(5):
        events = events_in(answer)
        while (await anext(events)).type != "step.waiting":
            pass
        await engine.api.call("POST", f"/api/v1/executions/{execution_id}/cancel")
        async with asyncio.timeout(2):
            assert (await anext(events)).type == "execution.cancel_requested"


async def test_stream_goes_on_after_the_last_event_that_was_seen(engine: Engine, served: Served, worker: None) -> None:
    execution_id = (await engine.run(QUICK))["id"]
    first, *rest = await all_events(served.client, execution_id)
    resumed = await all_events(served.client, execution_id, **{"Last-Event-ID": str(first.id)})
    assert resumed == rest


async def test_reader_who_has_seen_all_of_it_is_told_not_to_come_back(
    engine: Engine, served: Served, worker: None
) -> None:
    execution_id = (await engine.run(QUICK))["id"]
    last = (await engine.journal(execution_id))[-1]["seq"]
    async with watching(served.client, execution_id, **{"Last-Event-ID": str(last)}) as answer:
        assert answer.status_code == 204


async def test_stream_outlives_the_deadline_of_the_request(engine: Engine, served: Served, worker: None) -> None:
    execution_id = await engine.start({"id": "a", "uses": "delay", "with": {"duration": "2500ms"}})
    events = await all_events(served.client, execution_id, **{DEADLINE_HEADER: "2000"})
    assert events[-1].type == "execution.completed"


async def test_reader_that_goes_away_leaves_nothing_behind(engine: Engine, served: Served, worker: None) -> None:
    execution_id = await engine.start(HOLD)
    async with watching(served.client, execution_id) as answer:
        assert (await anext(events_in(answer))).id == 1
        assert not served.streams.is_idle
    assert await becomes_idle(served.streams)
    await engine.api.call("POST", f"/api/v1/executions/{execution_id}/cancel")


async def test_journal_of_another_namespace_is_not_streamed(engine: Engine, served: Served, folder: Path) -> None:
    execution_id = await engine.start(QUICK)
    stranger = Principal("stranger", "others", SCOPES)
    async with (
        client_of(folder / "workflow.sock", stranger) as client,
        watching(client, execution_id) as answer,
    ):
        assert answer.status_code == 404


@pytest.mark.parametrize("seen", ["-1", "x", "99999999999999999999"])
async def test_last_event_id_that_is_no_seq_is_refused(engine: Engine, served: Served, seen: str) -> None:
    execution_id = await engine.start(QUICK)
    async with watching(served.client, execution_id, **{"Last-Event-ID": seen}) as answer:
        assert answer.status_code == 422
        problem = orjson.loads(await answer.aread())
    assert [error["pointer"].lower() for error in problem["errors"]] == ["@last-event-id"]


async def test_stream_has_no_pages(engine: Engine) -> None:
    execution_id = await engine.start(QUICK)
    answer = await engine.api.call(
        "GET",
        f"/api/v1/executions/{execution_id}/events",
        params={"cursor": "x"},
        headers={"Accept": "text/event-stream"},
    )
    assert answer.status_code == 422


class CountingDatabase(Database):
    """Counts how often somebody asks."""

    asked = 0

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Any]:
        self.asked += 1
        async with super().connection() as connection:
            yield connection


@pytest.fixture
async def counting(engine: Engine) -> AsyncGenerator[CountingDatabase]:
    database = await CountingDatabase.connect(engine.database.for_service("workflow"), name="test")
    yield database
    await database.close()


async def test_fifty_readers_cost_one_query_at_a_time(engine: Engine, counting: CountingDatabase) -> None:
    streams = JournalStreams(counting)
    async with contextlib.AsyncExitStack() as stack:
        for execution_id in [await engine.start(HOLD) for _ in range(5)]:
            for _ in range(10):
                opened = await streams.open(CALLER, UUID(execution_id), 0)
                assert opened is not None
                await stack.enter_async_context(contextlib.aclosing(opened))
                assert b"retry" in await anext(opened)
                assert b"execution.created" in await anext(opened)
        await asyncio.sleep(2 * POLL_S)
        before = counting.asked
        await asyncio.sleep(5 * POLL_S)
        assert 3 <= counting.asked - before <= 7
    await streams.close()
    assert streams.is_idle


async def test_silent_stream_says_that_it_is_there(engine: Engine, counting: CountingDatabase) -> None:
    streams = JournalStreams(counting, keep_alive_s=0.05)
    opened = await streams.open(CALLER, UUID(await engine.start(HOLD)), 1)
    assert opened is not None
    async with contextlib.aclosing(opened), asyncio.timeout(5):
        assert b"retry" in await anext(opened)
        assert await anext(opened) == b": still here\n\n"
    await streams.close()


async def test_stream_of_an_execution_that_is_deleted_ends(engine: Engine, counting: CountingDatabase) -> None:
    streams = JournalStreams(counting)
    execution_id = await engine.start(HOLD)
    opened = await streams.open(CALLER, UUID(execution_id), 0)
    assert opened is not None
    async with asyncio.timeout(5):
        await anext(opened)
        await engine.sql("DELETE FROM events WHERE execution_id = $1", execution_id)
        await engine.sql("DELETE FROM executions WHERE id = $1", execution_id)
        assert [piece async for piece in opened] == []
    await streams.close()


@pytest.fixture
def process(engine: Engine, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The service in a process of its own, on `other.sock`."""
    given = {
        "TMWS_DATABASE_URL": engine.database.for_service("workflow"),
        "TMWS_SECRET_KEY": SECRET,
        "TMWS_REDIS_URL": "",
        "TMWS_LISTEN": f"unix://{folder / 'other.sock'}",
    }
    command = [sys.executable, "-m", "tmws_workflow.app"]
    process = subprocess.Popen(command, env={**os.environ, **given}, stdin=subprocess.DEVNULL)
    yield process
    process.kill()
    process.wait()


async def test_stopping_the_process_ends_its_streams_at_once(
    engine: Engine, folder: Path, process: subprocess.Popen[bytes]
) -> None:
    execution_id, path = await engine.start(HOLD), folder / "other.sock"
    async with client_of(path) as client, asyncio.timeout(20):
        while not path.exists():
            await asyncio.sleep(0.05)
        async with watching(client, execution_id) as answer:
            events = events_in(answer)
            await anext(events)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(3):
                assert [event async for event in events] == []
        assert await asyncio.to_thread(process.wait, 5) == 0
