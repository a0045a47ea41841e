"""Connections to another process, over real sockets, on both event loops."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from support.upstream import ok, upstream
from tmws_shared.framing import Request
from tmws_shared.reply import BrokenAnswer, NotAnswered, NotConnected, Reply
from tmws_shared.upstream import Upstream

GET = Request("GET", b"/")
POST = Request("POST", b"/", body=b"hello")
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
MALFORMED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello"
SLOWLY = [b""] * 8
MEBIBYTE = 1024 * 1024
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def client_of(url: str, max_connections: int = 100) -> AsyncGenerator[Upstream]:
    client = Upstream(url, max_connections=max_connections)
    yield client
    await client.close()


@asynccontextmanager
async def serving(serve: Serve) -> AsyncGenerator[str]:
    tasks: set[asyncio.Task[None] | None] = set()

    async def serve_until_gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve_until_gone, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await asyncio.gather(*filter(None, tasks))


async def fetch(client: Upstream, request: Request = GET, timeout_s: float = 5) -> tuple[int, bytes]:
    reply, body = await client.fetch(request, timeout_s, 100 * MEBIBYTE)
    return reply.status, body


async def collect(reply: Reply, idle_timeout_s: float = 5) -> list[bytes]:
    return [piece async for piece in reply.pieces(idle_timeout_s)]


async def pieces_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        await asyncio.sleep(0.01)
        yield piece


async def test_connection_is_used_again(short_directory: Path) -> None:
    async with upstream(short_directory, ok(b"hello")) as service, client_of(service.url) as client:
        answers = [await fetch(client) for _ in range(5)]
    assert answers == [(200, b"hello")] * 5
    assert service.connections == 1


async def test_service_is_reached_over_tcp() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(ok(head.split(b"\r\n")[1]))

    async with serving(answer) as url, client_of(url) as client:
        assert await fetch(client) == (200, b"host: " + url.removeprefix("http://").encode())


async def test_connection_used_last_is_used_first() -> None:
    opened = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        number = b"%d" % opened
        while True:
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.02)
            writer.write(ok(number))

    async with serving(answer) as url, client_of(url) as client:
        await asyncio.gather(*(fetch(client) for _ in range(4)))
        answers = {await fetch(client) for _ in range(4)}
    assert opened == 4
    assert len(answers) == 1


async def test_connections_are_not_more_than_allowed(short_directory: Path) -> None:
    answer = [b"", ok(b"hello")]
    async with upstream(short_directory, answer) as service, client_of(service.url, max_connections=3) as client:
        answers = await asyncio.gather(*(fetch(client) for _ in range(12)))
    assert answers == [(200, b"hello")] * 12
    assert service.connections == 3


async def test_place_of_a_lost_connection_goes_to_who_waits(short_directory: Path) -> None:
    async with upstream(short_directory, None, ok(b"hello")) as service, client_of(service.url, 1) as client:
        answers = await asyncio.gather(fetch(client, POST), fetch(client), return_exceptions=True)
    assert isinstance(answers[0], NotAnswered)
    assert answers[1] == (200, b"hello")


async def test_who_waits_too_long_for_a_place_is_told(short_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tmws_shared.pool.QUEUE_TIMEOUT_S", 0.3)
    async with upstream(short_directory, [*SLOWLY, *SLOWLY, ok()]) as service, client_of(service.url, 1) as client:
        answers = await asyncio.gather(fetch(client), fetch(client), return_exceptions=True)
    assert answers[0] == (200, b"")
    assert isinstance(answers[1], NotConnected)


async def test_place_is_not_lost_by_who_gives_up_waiting(short_directory: Path) -> None:
    async with upstream(short_directory, [b"", b"", ok()]) as service, client_of(service.url, 1) as client:
        holding = asyncio.create_task(fetch(client))
        waiting = [asyncio.create_task(fetch(client)) for _ in range(3)]
        await asyncio.sleep(0.02)
        waiting[0].cancel()
        answers = await asyncio.gather(holding, *waiting, return_exceptions=True)
    assert [answers[0], *answers[2:]] == [(200, b"")] * 3
    assert isinstance(answers[1], asyncio.CancelledError)


async def test_service_that_is_not_there_is_not_connected(short_directory: Path) -> None:
    async with client_of(f"unix://{short_directory}/nobody.sock", max_connections=1) as client:
        for _ in range(3):
            with pytest.raises(NotConnected):
                await fetch(client)


async def test_stale_connection_is_replaced_for_who_only_reads(short_directory: Path) -> None:
    answers = (ok(b"first"), None, ok(b"second"))
    async with upstream(short_directory, *answers) as service, client_of(service.url) as client:
        assert [await fetch(client), await fetch(client)] == [(200, b"first"), (200, b"second")]
    assert service.connections == 2


async def test_write_is_not_repeated_on_a_stale_connection(short_directory: Path) -> None:
    async with upstream(short_directory, ok(), None) as service, client_of(service.url) as client:
        await fetch(client, POST)
        with pytest.raises(NotAnswered):
            await fetch(client, POST)
    assert len(service.asked) == 2


async def test_nothing_is_repeated_once_a_byte_was_answered(short_directory: Path) -> None:
    async with upstream(short_directory, [b"H"], None) as service, client_of(service.url) as client:
        asking = asyncio.create_task(fetch(client))
        await asyncio.sleep(0.2)
        service.close_connections()
        with pytest.raises(BrokenAnswer):
            await asking
    assert len(service.asked) == 1


async def test_write_finds_a_service_that_was_restarted(short_directory: Path) -> None:
    path = short_directory / "restarting.sock"
    async with client_of(f"unix://{path}") as client:
        async with upstream(short_directory, ok(b"old"), path=path):
            old = await fetch(client)
        # In its next turn the event loop hears that the connection is closed.
        await asyncio.sleep(0.01)
        async with upstream(short_directory, ok(b"new"), path=path):
            new = await fetch(client, POST)
    assert (old, new) == ((200, b"old"), (200, b"new"))


async def test_old_connection_is_not_used_again(short_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with upstream(short_directory, ok()) as service, client_of(service.url) as client:
        await fetch(client)
        monkeypatch.setattr("tmws_shared.pool.KEEP_IDLE_S", 0.0)
        await fetch(client, POST)
    assert service.connections == 2


@pytest.mark.parametrize("part", [HALF, MALFORMED, CHUNKED + b"5\r\nhel"], ids=["half", "malformed", "chunk"])
async def test_service_that_dies_within_its_answer_breaks_it(short_directory: Path, part: bytes) -> None:
    async with upstream(short_directory, part) as service, client_of(service.url) as client:
        asking = asyncio.create_task(fetch(client))
        await asyncio.sleep(0.05)
        service.close_connections()
        with pytest.raises(BrokenAnswer):
            await asking
        with suppress(BrokenAnswer, TimeoutError):
            await fetch(client, timeout_s=0.1)
    assert service.connections == 2


async def test_head_that_is_late_times_out_and_its_connection_is_closed(short_directory: Path) -> None:
    answers = ([*SLOWLY, ok(b"late")], ok(b"next"))
    async with upstream(short_directory, *answers) as service, client_of(service.url) as client:
        with pytest.raises(TimeoutError):
            await client.ask(GET, 0.1)
        assert await fetch(client) == (200, b"next")
    assert service.connections == 2


async def test_head_that_comes_byte_by_byte_times_out(short_directory: Path) -> None:
    trickle = [bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\n"]
    async with upstream(short_directory, trickle) as service, client_of(service.url) as client:
        with pytest.raises(TimeoutError):
            await client.ask(GET, 0.2)


async def test_silence_within_an_answer_times_out(short_directory: Path) -> None:
    async with upstream(short_directory, [HALF, *SLOWLY, b"other", b"!"]) as service, client_of(service.url) as client:
        reply = await client.ask(GET, 5)
        with pytest.raises(TimeoutError):
            await collect(reply, idle_timeout_s=0.1)
        await reply.close()


async def test_whole_answer_has_one_deadline(short_directory: Path) -> None:
    trickle = [HALF, *[b"x"] * 6]
    async with upstream(short_directory, trickle) as service, client_of(service.url) as client:
        with pytest.raises(TimeoutError):
            await fetch(client, timeout_s=0.15)


async def test_chunks_are_handed_on_as_they_come(short_directory: Path) -> None:
    answer = [CHUNKED, b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\n\r\n"]
    async with upstream(short_directory, answer) as service, client_of(service.url) as client:
        assert await collect(await client.ask(GET, 5)) == [b"one", b"two"]
        await fetch(client)
    assert service.connections == 1


async def test_service_waits_for_a_slow_reader() -> None:
    written = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MEBIBYTE))
        for written in range(1, 65):  # noqa: B007 -- read from outside
            writer.write(b"x" * MEBIBYTE)
            await writer.drain()

    async with serving(answer) as url, client_of(url) as client:
        reply = await client.ask(GET, 5)
        await asyncio.sleep(0.3)
        ahead = written
        body = await reply.read(20, 100 * MEBIBYTE)
    assert ahead < 32
    assert len(body) == 64 * MEBIBYTE


async def test_body_waits_for_a_slow_service() -> None:
    given = 0
    go_on = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        nonlocal given
        for given in range(1, 65):  # noqa: B007 -- read from outside
            yield b"x" * MEBIBYTE

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go_on.wait()
        await reader.readexactly(64 * MEBIBYTE)
        writer.write(ok(b"all"))

    async with serving(answer) as url, client_of(url) as client:
        asking = asyncio.create_task(fetch(client, Request("POST", b"/", body=body(), length=64 * MEBIBYTE), 20))
        await asyncio.sleep(0.3)
        ahead = given
        go_on.set()
        assert await asking == (200, b"all")
    assert ahead < 32


async def test_body_of_unknown_length_is_sent_in_chunks() -> None:
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        heard.append(await reader.readuntil(b"0\r\n\r\n"))
        writer.write(ok())

    async with serving(answer) as url, client_of(url) as client:
        await fetch(client, Request("POST", b"/", body=pieces_of(b"one", b"", b"three")))
    assert heard == [b"3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"]


async def test_answer_that_comes_before_the_body_is_sent_ends_the_sending() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ok(b"enough", status="413 Content Too Large"))
        await writer.drain()
        await reader.read()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.01)
            yield b"more"

    async with serving(answer) as url, client_of(url) as client:
        assert await fetch(client, Request("POST", b"/", body=endless())) == (413, b"enough")


@pytest.mark.parametrize("pieces", [(b"short",), (b"much", b"too long")])
async def test_body_that_is_not_as_long_as_it_said_is_broken_off(short_directory: Path, pieces: tuple[bytes]) -> None:
    async with upstream(short_directory, ok()) as service, client_of(service.url) as client:
        with pytest.raises(NotAnswered):
            await fetch(client, Request("POST", b"/", body=pieces_of(*pieces), length=10))
    assert service.asked == []


async def test_body_that_fails_is_broken_off_and_its_failure_told(short_directory: Path) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"half"
        raise RuntimeError("the caller is gone")

    async with upstream(short_directory, ok()) as service, client_of(service.url) as client:
        with pytest.raises(RuntimeError, match="the caller is gone"):
            await fetch(client, Request("POST", b"/", body=failing(), length=10))
    assert service.asked == []


async def test_who_is_cancelled_hangs_up(short_directory: Path) -> None:
    async with upstream(short_directory, [*SLOWLY, ok()]) as service, client_of(service.url, 1) as client:
        asking = asyncio.create_task(fetch(client))
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await asyncio.wait_for(service.hung_up.wait(), 2)


async def test_closing_ends_what_is_on_its_way(short_directory: Path) -> None:
    async with upstream(short_directory, [*SLOWLY, ok()]) as service:
        client = Upstream(service.url, max_connections=1)
        asking = asyncio.gather(fetch(client, POST), fetch(client, POST), return_exceptions=True)
        await asyncio.sleep(0.05)
        await client.close()
        answers = await asyncio.wait_for(asking, 1)
    assert [type(answer) for answer in answers] == [NotAnswered, NotConnected]
