"""Calls to another service, as that service hears them and as its answers are understood."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.upstream import ok, upstream
from tmws_shared.auth import InternalTokens, Principal
from tmws_shared.http import ServiceClient, UpstreamProblem
from tmws_shared.problems import Unavailable

SECRET = "a secret for the tests of calls, 32 bytes or more"
ALICE = Principal("alice", "team-a", frozenset({"task:read"}))
PROBLEM = "Content-Type: application/problem+json"


@asynccontextmanager
async def client_of(url: str) -> AsyncGenerator[ServiceClient]:
    client = ServiceClient(url, "task", InternalTokens(SECRET))
    yield client
    await client.close()


async def test_service_hears_who_asks_and_how_long_there_is(short_directory: Path) -> None:
    async with upstream(short_directory, ok(b"{}")) as service, client_of(service.url) as client:
        await client.call("POST", "/tasks", ALICE, json={"title": "x"}, headers={"if-match": '"1"'}, timeout_s=5)
    head, _, body = service.asked[0].decode().partition("\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    assert InternalTokens(SECRET).verify(headers["authorization"].removeprefix("Bearer "), "task", "POST") == ALICE
    assert (headers["if-match"], headers["content-type"], body) == ('"1"', "application/json", '{"title":"x"}')
    assert 0 < int(headers["x-tmws-timeout-ms"]) <= 5000


async def test_path_and_query_are_escaped(short_directory: Path) -> None:
    async with upstream(short_directory, ok(b"{}")) as service, client_of(service.url) as client:
        await client.call("GET", "/a b/ä%2F\r\n", ALICE, params={"q": "c&d", "tag": ["x", "y"]})
    assert service.asked[0].startswith(b"GET /a%20b/%C3%A4%2F%0D%0A?q=c%26d&tag=x&tag=y HTTP/1.1\r\n")


async def test_answer_is_read_whole(short_directory: Path) -> None:
    answer = [ok(b'{"id": 1}', "X-Kind: y", status="201 Created")[:-5], b'": 1}']
    async with upstream(short_directory, answer) as service, client_of(service.url) as client:
        found = await client.call("POST", "/tasks", ALICE, json={})
    assert (found.status, found.json(), found.headers["x-kind"]) == (201, {"id": 1}, "y")


async def test_refusal_is_the_services_own_problem(short_directory: Path) -> None:
    answer = ok(b'{"title":"Taken","status":409}', PROBLEM, "Retry-After: 7", status="409 Conflict")
    async with upstream(short_directory, answer) as service, client_of(service.url) as client:
        with pytest.raises(UpstreamProblem) as caught:
            await client.call("GET", "/tasks", ALICE)
    assert (caught.value.status, caught.value.upstream["title"]) == (409, "Taken")
    assert caught.value.headers == {"Retry-After": "7"}


async def test_service_that_is_busy_is_unavailable_as_long_as_it_says(short_directory: Path) -> None:
    answer = ok(b'{"title":"Busy"}', PROBLEM, "Retry-After: 7", status="503 Service Unavailable")
    async with upstream(short_directory, answer) as service, client_of(service.url) as client:
        with pytest.raises(Unavailable) as caught:
            await client.call("GET", "/tasks", ALICE)
    assert caught.value.headers == {"Retry-After": "7"}


@pytest.mark.parametrize(
    "answer",
    [None, b"HTTP/1.1 200 OK\r\n\r\n", b"garbage\r\n\r\n", [b""] * 20],
    ids=["none", "endless", "garbage", "slow"],
)
async def test_service_without_a_whole_answer_is_unavailable(
    short_directory: Path, answer: bytes | list[bytes] | None
) -> None:
    async with upstream(short_directory, answer) as service, client_of(service.url) as client:
        with pytest.raises(Unavailable):
            await client.call("POST", "/tasks", ALICE, json={}, timeout_s=0.2)


async def test_service_that_is_not_there_is_unavailable(short_directory: Path) -> None:
    async with client_of(f"unix://{short_directory}/nobody.sock") as client:
        with pytest.raises(Unavailable):
            await client.call("GET", "/tasks", ALICE)
