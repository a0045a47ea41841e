"""A service of several processes, over real sockets: who is asked, and who is not any more."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from support.upstream import Upstream as Service
from support.upstream import ok, upstream
from support.waiting import until
from tmws_shared.framing import Request
from tmws_shared.replica import State
from tmws_shared.reply import Busy, CircuitOpen, NotAnswered, NotConnected
from tmws_shared.upstream import Upstream

GET = Request("GET", b"/")
POST = Request("POST", b"/", body=b"hello")
LONG = [b""] * 200


@asynccontextmanager
async def client_of(*services: Service | str, max_connections: int = 100) -> AsyncGenerator[Upstream]:
    urls = [service if isinstance(service, str) else service.url for service in services]
    client = Upstream(",".join(urls), "test", max_connections=max_connections)
    yield client
    await client.close()


async def fetch(client: Upstream, request: Request = GET, timeout_s: float = 5) -> bytes:
    return (await client.fetch(request, timeout_s, 1024))[1]


def states(client: Upstream) -> list[State]:
    return [replica.state for replica in client.replicas]


def questions(service: Service) -> int:
    return sum(not asked.startswith(b"GET /readyz") for asked in service.asked)


async def test_requests_go_to_all_replicas(short_directory: Path) -> None:
    async with (
        upstream(short_directory, ok(b"a")) as a,
        upstream(short_directory, ok(b"b")) as b,
        client_of(a, b) as client,
    ):
        answers = [await fetch(client) for _ in range(60)]
    assert min(answers.count(b"a"), answers.count(b"b")) > 10


async def test_busier_replica_is_asked_less(short_directory: Path) -> None:
    async with (
        upstream(short_directory, [b"", b"", b"", ok()]) as slow,
        upstream(short_directory, ok()) as quick,
        client_of(slow, quick) as client,
    ):

        async def ask_on() -> None:
            for _ in range(8):
                await fetch(client)

        await asyncio.gather(*(ask_on() for _ in range(8)))
    assert questions(slow) * 3 < questions(quick)


async def test_replica_that_is_gone_costs_no_request(short_directory: Path) -> None:
    async with AsyncExitStack() as stack:
        kept = await stack.enter_async_context(upstream(short_directory, ok(b"kept")))
        async with upstream(short_directory, ok(b"gone")) as gone:
            client = await stack.enter_async_context(client_of(kept, gone))
            await asyncio.gather(*(fetch(client) for _ in range(40)))
        answers = [await fetch(client, POST if number % 2 else GET) for number in range(60)]
    assert answers == [b"kept"] * 60


async def test_replica_that_was_put_out_comes_back(short_directory: Path) -> None:
    path = short_directory / "back.sock"
    async with upstream(short_directory, ok(b"other")) as other, client_of(other, f"unix://{path}") as client:
        for _ in range(30):
            await fetch(client)
        assert State.UP in states(client)
        assert client.replicas[1].state is not State.UP
        async with upstream(short_directory, ok(b"back"), path=path):
            await until(lambda: states(client) == [State.UP, State.UP])
            answers = {await fetch(client) for _ in range(30)}
    assert answers == {b"other", b"back"}


async def test_circuit_opens_at_once_and_closes_when_a_replica_is_back(short_directory: Path) -> None:
    path = short_directory / "circuit.sock"
    async with client_of(f"unix://{path}") as client:
        for _ in range(3):
            with pytest.raises(NotConnected) as refused:
                await fetch(client)
            assert not isinstance(refused.value, CircuitOpen)
        with pytest.raises(CircuitOpen) as opened:
            await fetch(client, timeout_s=0.05)
        async with upstream(short_directory, ok(b"back"), path=path):
            await until(lambda: not client.is_open)
            answer = await fetch(client, POST)
    assert opened.value.retry_after_s == 1
    assert answer == b"back"


async def test_replica_that_hangs_is_put_out_by_its_silence(
    short_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tmws_shared.upstream.SILENT_AFTER_S", 0.2)
    monkeypatch.setattr("tmws_shared.upstream.WATCH_EVERY_S", 0.1)
    monkeypatch.setattr("tmws_shared.replica.PROBE_TIMEOUT_S", 0.3)
    async with (
        upstream(short_directory, ok(b"well")) as well,
        upstream(short_directory, LONG) as hung,
        client_of(well, hung) as client,
    ):
        waiting = [asyncio.create_task(fetch(client)) for _ in range(10)]
        await until(lambda: client.replicas[1].state is State.DOWN)
        answers = [await fetch(client, timeout_s=1) for _ in range(20)]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert answers == [b"well"] * 20


async def test_hard_questions_do_not_put_a_replica_out(short_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tmws_shared.upstream.WATCH_EVERY_S", 0.05)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /readyz"):
            writer.write(ok())
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(serve, short_directory / "hard.sock")
    async with client_of(f"unix://{short_directory}/hard.sock") as client:
        for _ in range(6):
            with pytest.raises(TimeoutError):
                await fetch(client, timeout_s=0.06)
        assert not client.is_open
    server.close()


async def test_when_most_are_suspect_all_that_may_work_are_asked(
    short_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tmws_shared.replica.FIRST_OUT_S", 60.0)
    async with (
        upstream(short_directory, ok(b"up")) as up,
        upstream(short_directory, ok(b"suspect 1")) as one,
        upstream(short_directory, ok(b"suspect 2")) as other,
        client_of(up, one, other, f"unix://{short_directory}/missing.sock") as client,
    ):
        for replica in client.replicas[1:]:
            replica.suspect()
        answers = {await fetch(client) for _ in range(60)}
        assert states(client) == [State.UP, State.SUSPECT, State.SUSPECT, State.DOWN]
    assert answers == {b"up", b"suspect 1", b"suspect 2"}


async def test_each_time_a_replica_is_put_out_for_longer(short_directory: Path) -> None:
    async with upstream(short_directory, ok()) as service, client_of(service) as client:
        replica, times = client.replicas[0], list[float]()
        for _ in range(4):
            replica.suspect()
            times.append(replica.out_until - time.monotonic())
            await replica.probe()
    assert [round(seconds, 1) for seconds in times] == [0.5, 1.0, 2.0, 4.0]


async def test_service_that_fails_is_not_asked_twice_as_often(short_directory: Path) -> None:
    async with (
        upstream(short_directory, None) as one,
        upstream(short_directory, None) as other,
        client_of(one, other) as client,
    ):
        answers = await asyncio.gather(*(fetch(client) for _ in range(60)), return_exceptions=True)
    assert {type(answer) for answer in answers} <= {NotAnswered, CircuitOpen}
    assert questions(one) + questions(other) <= 60 + 17


async def test_write_of_which_something_was_sent_is_not_sent_again(short_directory: Path) -> None:
    async with (
        upstream(short_directory, None) as one,
        upstream(short_directory, None) as other,
        client_of(one, other) as client,
    ):
        with pytest.raises(NotAnswered):
            await fetch(client, POST)
    assert questions(one) + questions(other) == 1


async def test_queue_for_a_connection_is_bounded(short_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tmws_shared.pool.MAX_WAITING", 2)
    async with (
        upstream(short_directory, [b""] * 4 + [ok()]) as service,
        client_of(service, max_connections=1) as client,
    ):
        answers = await asyncio.gather(*(fetch(client) for _ in range(5)), return_exceptions=True)
        assert not client.is_open
    assert [type(answer) for answer in answers] == [bytes, bytes, bytes, Busy, Busy]
