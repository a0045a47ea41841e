"""The proxy, in front of a service that answers as told."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.upstream import Upstream, ok, upstream
from tmws_gateway.body import ClientGone
from tmws_gateway.errors import UpstreamTimeout
from tmws_gateway.exchange import KEY, Exchange
from tmws_gateway.proxy import Proxy
from tmws_shared.auth import InternalTokens, Principal
from tmws_shared.problems import Unavailable
from tmws_shared.upstream import Upstream as Client

SECRET = "a secret for the tests of the proxy, 32 bytes"
CALLER = Principal("alice", "team-a", frozenset({"task:read"}), key_id="k1")
FOREVER = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b"9\r\ndata: 1\n\n\r\n"


class Caller:
    """The ASGI side of one request; hangs up when `leaves` is set."""

    def __init__(self, *pieces: bytes, pause_s: float = 0, more: bool = False) -> None:
        self.pieces = list(pieces) or [b""]
        self.pause_s = pause_s
        self.more = more
        self.messages: list[Any] = []
        self.times: list[float] = []
        self.leaves = asyncio.Event()

    async def receive(self) -> Any:
        if self.pieces:
            await asyncio.sleep(self.pause_s)
            body = self.pieces.pop(0)
            return {"type": "http.request", "body": body, "more_body": self.more or bool(self.pieces)}
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.messages.append(message)
        self.times.append(time.monotonic())

    @property
    def status(self) -> int:
        return self.messages[0]["status"]

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])


def scope(
    method: str = "GET", headers: Sequence[tuple[bytes, bytes]] = (), query: bytes = b"", timeout_s: float = 10
) -> dict[str, Any]:
    exchange = Exchange(method, "/x", "192.0.2.1", "request-1", None, principal=CALLER, given=dict(headers))
    exchange.deadline = time.monotonic() + timeout_s
    inside = "GET" if method == "HEAD" else method
    return {"type": "http", "method": inside, "raw_path": b"/api/v1/t%C3%A4sks", "query_string": query,
            "headers": list(headers), "state": {KEY: exchange}}  # fmt: skip


@asynccontextmanager
async def proxy_to(url: str, max_connections: int = 100) -> AsyncGenerator[Proxy]:
    client = Client(url, "task", max_connections=max_connections)
    yield Proxy("task", client, InternalTokens(SECRET))
    await client.close()


async def ask(service: Upstream, request: dict[str, Any], caller: Caller | None = None) -> Caller:
    caller = caller or Caller()
    async with proxy_to(service.url) as proxy:
        await proxy(request, caller.receive, caller.send)
    return caller


async def test_answer_comes_back_as_it_is(short_directory: Path) -> None:
    answer = ok(b"made", 'ETag: "1"', "Location: /api/v1/tasks/7", "Idempotent-Replayed: true", status="201 Created")
    async with upstream(short_directory, answer) as service:
        caller = await ask(service, scope())
    assert (caller.status, caller.body) == (201, b"made")
    assert caller.headers == {
        b"content-length": b"4", b"etag": b'"1"', b"location": b"/api/v1/tasks/7", b"idempotent-replayed": b"true",
    }  # fmt: skip


async def test_target_is_passed_on_unchanged(short_directory: Path) -> None:
    async with upstream(short_directory, ok()) as service:
        await ask(service, scope(query=b"q=a%20b+c&status=x&status=y"))
    assert service.asked[0].startswith(b"GET /api/v1/t%C3%A4sks?q=a%20b+c&status=x&status=y HTTP/1.1\r\n")


async def test_service_hears_who_asks_from_us_alone(short_directory: Path) -> None:
    claims = [(b"authorization", b"Bearer users-own"), (b"x-tmws-timeout-ms", b"999999"), (b"cookie", b"a=b"),
              (b"x-forwarded-for", b"evil"), (b"connection", b"x-secret"), (b"x-secret", b"1"), (b"te", b"trailers"),
              (b"if-match", b'"3"')]  # fmt: skip
    async with upstream(short_directory, ok()) as service:
        await ask(service, scope(headers=claims))
    lines = service.asked[0].decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:] if line)
    token = service.asked[0].decode().split("Bearer ")[1].split("\r\n")[0]
    assert InternalTokens(SECRET).verify(token, "task", "GET") == CALLER
    assert 0 < int(headers["x-tmws-timeout-ms"]) <= 10_000
    assert headers["x-request-id"] == "request-1"
    assert headers["if-match"] == '"3"'
    assert not headers.keys() & {"cookie", "x-forwarded-for", "x-secret", "te"}


async def test_internal_headers_of_an_answer_stay_inside(short_directory: Path) -> None:
    answer = ok(
        b"", "Server: uvicorn", "X-TMWS-Embedding-Model: m", "Connection: X-Hop", "X-Hop: 1", "X-Request-ID: other"
    )
    async with upstream(short_directory, answer) as service:
        caller = await ask(service, scope())
    assert caller.headers == {b"content-length": b"0"}


async def test_body_in_one_piece_is_passed_on(short_directory: Path) -> None:
    async with upstream(short_directory, ok()) as service:
        await ask(service, scope("POST", [(b"content-length", b"5")]), Caller(b"hello"))
    assert service.asked[0].endswith(b"\r\n\r\nhello")


async def test_body_in_many_pieces_is_streamed(short_directory: Path) -> None:
    async with upstream(short_directory, ok()) as service:
        await ask(service, scope("POST", [(b"content-length", b"10")]), Caller(b"hello", b"", b"world"))
    assert service.asked[0].endswith(b"\r\n\r\nhelloworld")


async def test_answer_is_streamed_piece_by_piece(short_directory: Path) -> None:
    async with upstream(short_directory, [FOREVER, EVENT, EVENT, b"0\r\n\r\n"]) as service:
        caller = await ask(service, scope())
    assert caller.body == b"data: 1\n\n" * 2
    assert caller.times[2] - caller.times[1] > 0.03


async def test_answer_is_streamed_while_the_body_is(short_directory: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(FOREVER)
        while not (piece := await reader.readuntil(b"\r\n")).startswith(b"0"):
            writer.write(piece + await reader.readuntil(b"\r\n"))
        writer.write(b"0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    path = short_directory / "echo.sock"
    server = await asyncio.start_unix_server(echo, path)
    caller = Caller(*[b"piece"] * 20, pause_s=0.005)
    async with asyncio.timeout(5), proxy_to(f"unix://{path}") as proxy:
        await proxy(scope("POST", [(b"transfer-encoding", b"chunked")]), caller.receive, caller.send)
    server.close()
    assert caller.body == b"piece" * 20
    assert len(caller.messages) > 10


async def test_caller_who_leaves_within_the_body_breaks_it_off(short_directory: Path) -> None:
    async with upstream(short_directory, ok()) as service:
        caller = Caller(b"hel", b"lo", more=True)
        caller.leaves.set()
        with pytest.raises(ClientGone):
            await ask(service, scope("POST", [(b"content-length", b"10")]), caller)
    assert service.asked == []


async def test_stream_ends_when_the_caller_leaves(short_directory: Path) -> None:
    async with upstream(short_directory, [FOREVER, *[EVENT] * 1_000]) as service:
        caller = Caller()
        asyncio.get_running_loop().call_later(0.2, caller.leaves.set)
        await asyncio.wait_for(ask(service, scope(), caller), 2)
        await asyncio.wait_for(service.hung_up.wait(), 2)
    assert 0 < len(caller.body) < 1_000


async def test_head_is_asked_as_get_and_answered_without_a_body(short_directory: Path) -> None:
    async with upstream(short_directory, ok(b"hello")) as service:
        caller = await ask(service, scope("HEAD"))
    assert service.asked[0].startswith(b"GET ")
    assert (caller.headers[b"content-length"], caller.body) == (b"5", b"")


async def test_reading_is_tried_once_more_when_nothing_was_answered(short_directory: Path) -> None:
    async with upstream(short_directory, None, ok(b"hello")) as service:
        caller = await ask(service, scope())
    assert (caller.body, len(service.asked)) == (b"hello", 2)


async def test_reading_is_tried_no_third_time(short_directory: Path) -> None:
    async with upstream(short_directory, None) as service:
        with pytest.raises(Unavailable):
            await ask(service, scope())
    assert len(service.asked) == 2


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_writing_is_not_tried_again(short_directory: Path, method: str) -> None:
    async with upstream(short_directory, None) as service:
        with pytest.raises(Unavailable):
            await ask(service, scope(method))
    assert len(service.asked) == 1


async def test_answer_that_has_begun_is_not_tried_again(short_directory: Path) -> None:
    broken = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
    async with upstream(short_directory, broken, None) as service:
        caller = Caller()
        async with asyncio.timeout(5), proxy_to(service.url) as proxy:
            asking = asyncio.create_task(proxy(scope(), caller.receive, caller.send))
            await asyncio.sleep(0.1)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
    assert (caller.status, len(service.asked)) == (200, 1)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
        ok(b"hello") + ok(b"second"),
    ],
    ids=["cl te", "cl twice", "bare lf", "large head", "two answers"],
)
async def test_malformed_answer_is_unavailable_and_its_connection_dropped(short_directory: Path, answer: bytes) -> None:
    async with upstream(short_directory, answer, ok(b"next")) as service, proxy_to(service.url) as proxy:
        with pytest.raises(Unavailable):
            await proxy(scope(), Caller().receive, Caller().send)
        caller = Caller()
        await proxy(scope(), caller.receive, caller.send)
    assert (caller.body, service.connections) == (b"next", 2)


async def test_whole_answer_goes_out_at_once(short_directory: Path) -> None:
    async with upstream(short_directory, ok(b"hello")) as service:
        caller = await ask(service, scope())
    assert [message["type"] for message in caller.messages] == ["http.response.start", "http.response.body"]
    assert not caller.messages[1].get("more_body")


async def test_service_that_is_not_there_is_unavailable(short_directory: Path) -> None:
    caller = Caller()
    async with proxy_to(f"unix://{short_directory}/nobody.sock") as proxy:
        with pytest.raises(Unavailable) as caught:
            await proxy(scope(), caller.receive, caller.send)
    assert caught.value.headers["Retry-After"] == "1"


async def test_service_that_is_too_slow_is_a_timeout(short_directory: Path) -> None:
    async with upstream(short_directory, [b"", b"", b"", b"", ok()]) as service:
        with pytest.raises(UpstreamTimeout):
            await ask(service, scope(timeout_s=0.1))


async def test_service_with_another_secret_is_unavailable(short_directory: Path) -> None:
    async with upstream(short_directory, ok(b"{}", status="401 Unauthorized")) as service:
        with pytest.raises(Unavailable):
            await ask(service, scope())


async def test_refusal_of_a_service_is_passed_back(short_directory: Path) -> None:
    refusal = ok(b'{"status":409}', "Content-Type: application/problem+json", "Retry-After: 2", status="409 Conflict")
    async with upstream(short_directory, refusal) as service:
        caller = await ask(service, scope("POST"))
    assert (caller.status, caller.body, caller.headers[b"retry-after"]) == (409, b'{"status":409}', b"2")


async def test_streams_leave_the_connections_to_others(short_directory: Path) -> None:
    wanted = scope(headers=[(b"accept", b"text/event-stream")])
    async with upstream(short_directory, [FOREVER, *[EVENT] * 1_000]) as service, proxy_to(service.url, 1) as proxy:
        streams = [Caller() for _ in range(3)]
        following = [asyncio.create_task(proxy(wanted, stream.receive, stream.send)) for stream in streams]
        async with asyncio.timeout(5):
            while not all(stream.messages for stream in streams):
                await asyncio.sleep(0.01)
            service.answers[:] = [ok(b"hello")]
            caller = Caller()
            await proxy(scope(), caller.receive, caller.send)
        for stream in streams:
            stream.leaves.set()
        await asyncio.gather(*following)
    assert caller.body == b"hello"
