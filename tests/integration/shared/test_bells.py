"""A bell is heard at once by all who listen, and by the next who comes when nobody does."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from support.redis import RedisForTests
from tmws_shared.jobs import Doorbell, ringing
from tmws_shared.redis import open_redis


class Ear:
    """Counts what it hears."""

    def __init__(self) -> None:
        self.rings = 0
        self._came = asyncio.Event()

    def hear(self) -> None:
        self.rings += 1
        self._came.set()

    async def wait(self) -> None:
        async with asyncio.timeout(10):
            await self._came.wait()
        self._came.clear()


@asynccontextmanager
async def listening(url: str, queue: str) -> AsyncGenerator[Ear]:
    bell, ear = Doorbell(url, queue), Ear()
    listening = asyncio.create_task(bell.listen(ear.hear))
    try:
        yield ear
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await bell.close()


async def until_heard(url: str, queue: str, listeners: int) -> None:
    async with open_redis(url, timeout_s=1) as redis, asyncio.timeout(10):
        while (await redis.pubsub_numsub(f"tmws:bell:{queue}"))[0][1] != listeners:
            await asyncio.sleep(0.01)


async def test_ring_is_heard_by_all_who_listen(redis_url: str) -> None:
    queue = str(uuid4())
    async with listening(redis_url, queue) as one, listening(redis_url, queue) as two:
        await until_heard(redis_url, queue, 2)
        async with ringing(redis_url, queue) as ringer:
            ringer.ask()
            await asyncio.gather(one.wait(), two.wait())


async def test_ring_that_nobody_heard_is_heard_by_the_next_listener_once(redis_url: str) -> None:
    queue = str(uuid4())
    bell = Doorbell(redis_url, queue)
    for _ in range(3):
        await bell.ring()
    await bell.close()
    async with listening(redis_url, queue) as ear:
        await ear.wait()
    async with listening(redis_url, queue) as late:
        await asyncio.sleep(0.2)
    assert (ear.rings, late.rings) == (1, 0)


async def test_many_askings_are_few_rings(redis_url: str) -> None:
    queue = str(uuid4())
    async with ringing(redis_url, queue) as ringer, listening(redis_url, queue) as ear:
        await until_heard(redis_url, queue, 1)
        for _ in range(500):
            ringer.ask()
            await asyncio.sleep(0)
        await ear.wait()
        await asyncio.sleep(0.05)
    assert ear.rings <= 3


async def test_listener_hears_again_when_redis_is_back(redis_server: RedisForTests) -> None:
    queue = str(uuid4())
    async with ringing(redis_server.url, queue) as ringer, listening(redis_server.url, queue) as ear:
        await until_heard(redis_server.url, queue, 1)
        redis_server.stop()
        redis_server.start()
        await until_heard(redis_server.url, queue, 1)
        ringer.ask()
        await asyncio.sleep(0.1)
        ringer.ask()
        await ear.wait()


async def test_listener_hears_again_when_redis_was_frozen(
    redis_server: RedisForTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tmws_shared.jobs._SILENCE_S", 0.2)
    queue = str(uuid4())
    async with ringing(redis_server.url, queue) as ringer, listening(redis_server.url, queue) as ear:
        await until_heard(redis_server.url, queue, 1)
        redis_server.pause()
        try:
            ringer.ask()
            await asyncio.sleep(0.7)
        finally:
            redis_server.resume()
        ringer.ask()
        await ear.wait()


async def test_bell_without_redis_is_silent_and_fails_nobody() -> None:
    async with ringing("", "none") as ringer, listening("", "none") as ear:
        ringer.ask()
        await asyncio.sleep(0.05)
    assert ear.rings == 0
