"""A service under a name that stands for several addresses, over real sockets; the system's resolver is ours here.

On asyncio's own loop alone: uvloop asks the system past Python.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from support.upstream import ok
from support.waiting import until
from tmws_shared.framing import Request
from tmws_shared.reply import NotConnected
from tmws_shared.upstream import Upstream

GET = Request("GET", b"/")


@asynccontextmanager
async def client_of(url: str) -> AsyncGenerator[Upstream]:
    client = Upstream(url, "test")
    yield client
    await client.close()


async def fetch(client: Upstream) -> bytes:
    return (await client.fetch(GET, 5, 1024))[1]


class Names:
    """The system's resolver, as far as one name goes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hosts: list[str] = []
        self.lookups = 0
        monkeypatch.setattr(socket, "getaddrinfo", self.look_up)
        monkeypatch.setattr("tmws_shared.upstream.RESOLVE_EVERY_S", 0.1)
        monkeypatch.setattr("tmws_shared.upstream.RESOLVE_AGAIN_S", 0.1)

    def look_up(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        if host != "task.test":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
        self.lookups += 1
        if not self.hosts:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::9", port, 0, 0))
        return [six, *((socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in self.hosts)]


@asynccontextmanager
async def listening(*hosts: str) -> AsyncGenerator[str]:
    """Answer at the same port of several addresses, each with its own; yield the URL of their name."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ok(writer.get_extra_info("sockname")[0].encode()))
        writer.close()

    first = await asyncio.start_server(serve, hosts[0], 0)
    port = first.sockets[0].getsockname()[1]
    others = [await asyncio.start_server(serve, host, port) for host in hosts[1:]]
    yield f"http://task.test:{port}"
    for server in (first, *others):
        server.close()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


async def test_each_address_of_a_name_is_a_replica(names: Names) -> None:
    names.hosts = ["127.0.0.2", "127.0.0.3"]
    async with listening("127.0.0.2", "127.0.0.3") as url, client_of(url) as client:
        assert {await fetch(client) for _ in range(30)} == {b"127.0.0.2", b"127.0.0.3"}


async def test_name_is_followed_in_the_background(names: Names) -> None:
    names.hosts = ["127.0.0.2"]
    async with listening("127.0.0.2", "127.0.0.3") as url, client_of(url) as client:
        before = {await fetch(client) for _ in range(10)}
        names.hosts = ["127.0.0.3"]
        await until(lambda: [replica.address.host for replica in client.replicas] == ["127.0.0.3"])
        after = {await fetch(client) for _ in range(10)}
    assert (before, after) == ({b"127.0.0.2"}, {b"127.0.0.3"})


async def test_what_is_on_its_way_ends_when_its_address_goes(names: Names) -> None:
    names.hosts = ["127.0.0.2"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.5)
        writer.write(ok(b"whole"))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.2", 0)
    port = server.sockets[0].getsockname()[1]
    async with client_of(f"http://task.test:{port}") as client:
        asking = asyncio.create_task(fetch(client))
        await until(lambda: client.replicas)
        names.hosts = ["127.0.0.3"]
        assert await asking == b"whole"
        assert [replica.address.host for replica in client.replicas] == ["127.0.0.3"]
    server.close()


async def test_addresses_are_kept_while_nobody_knows_the_name(names: Names) -> None:
    names.hosts = ["127.0.0.2"]
    async with listening("127.0.0.2") as url, client_of(url) as client:
        await fetch(client)
        names.hosts = []
        lookups = names.lookups
        await until(lambda: names.lookups > lookups + 1)
        assert await fetch(client) == b"127.0.0.2"


async def test_unknown_name_is_told_at_once_and_found_when_it_is_there(names: Names) -> None:
    async with listening("127.0.0.2") as url, client_of(url) as client:
        for _ in range(3):
            with pytest.raises(NotConnected):
                await fetch(client)
        names.hosts = ["127.0.0.2"]
        await until(lambda: client.replicas)
        assert await fetch(client) == b"127.0.0.2"
