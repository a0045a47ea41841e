"""Events travel from one service's outbox over the stream into another's inbox, each effective once."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from support.postgres import DatabaseUrls, PostgresForTests
from tmws_contracts.events import Event
from tmws_shared.database import Connection, Database
from tmws_shared.events import INBOX_DDL, OUTBOX_DDL, STREAM, Reader, Relay, append_event
from tmws_shared.redis import open_redis

TYPES = frozenset({"thing.happened"})


def prepare(urls: DatabaseUrls) -> None:
    async def create() -> None:
        database = await Database.connect(urls.for_service("task"), name="test")
        async with database.connection() as connection:
            await connection.raw.execute(OUTBOX_DDL + INBOX_DDL + "CREATE TABLE effects (subject text)")
        await database.close()

    asyncio.run(create())


@pytest.fixture(scope="module")
def urls(postgres: PostgresForTests) -> DatabaseUrls:
    return postgres.create_database(template="events", prepare=prepare)


@pytest.fixture
async def database(urls: DatabaseUrls) -> AsyncGenerator[Database]:
    database = await Database.connect(urls.for_service("task"), name="test")
    await database.execute("TRUNCATE outbox, inbox, effects")
    yield database
    await database.close()


async def take_effect(connection: Connection, event: Event) -> None:
    await connection.execute("INSERT INTO effects (subject) VALUES ($1)", event.subject)


async def wait_for_effects(database: Database, count: int) -> list[str]:
    async with asyncio.timeout(10):
        while len(rows := await database.fetch("SELECT subject FROM effects ORDER BY subject")) < count:
            await asyncio.sleep(0.01)
    return [row["subject"] for row in rows]


async def test_event_reaches_the_reader(database: Database, empty_redis_url: str) -> None:
    relay, reader = Relay(database, empty_redis_url), Reader(database, empty_redis_url, "test", TYPES, take_effect)
    loops = [asyncio.create_task(relay.run()), asyncio.create_task(reader.run())]
    async with database.transaction() as connection:
        await append_event(connection, "thing.happened", "default", "one", {})
        await append_event(connection, "thing.ignored", "default", "two", {})
    relay.wake()
    assert await wait_for_effects(database, 1) == ["one"]
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0
    await stop(loops, relay, reader)


async def test_rolled_back_change_tells_nobody(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as connection:
            await append_event(connection, "thing.happened", "default", "never", {})
            raise ZeroDivisionError
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0


async def test_repeated_event_takes_effect_once(database: Database, empty_redis_url: str) -> None:
    relay, reader = Relay(database, empty_redis_url), Reader(database, empty_redis_url, "test", TYPES, take_effect)
    loops = [asyncio.create_task(relay.run()), asyncio.create_task(reader.run())]
    async with database.transaction() as connection:
        await append_event(connection, "thing.happened", "default", "one", {})
    relay.wake()
    await wait_for_effects(database, 1)
    redis = open_redis(empty_redis_url, timeout_s=1)
    (entry,) = await redis.xrange(STREAM)
    await redis.xadd(STREAM, entry[1])
    async with database.transaction() as connection:
        await append_event(connection, "thing.happened", "default", "two", {})
    relay.wake()
    assert await wait_for_effects(database, 2) == ["one", "two"]
    await redis.aclose()
    await stop(loops, relay, reader)


async def test_events_wait_while_redis_is_away(database: Database, tmp_path: object) -> None:
    relay = Relay(database, "unix:///nowhere/redis.sock")
    loop = asyncio.create_task(relay.run())
    async with database.transaction() as connection:
        await append_event(connection, "thing.happened", "default", "kept", {})
    relay.wake()
    await asyncio.sleep(0.2)
    assert await database.fetchval("SELECT count(*) FROM outbox") == 1
    await stop([loop], relay)


async def stop(loops: list[asyncio.Task[None]], *parts: Relay | Reader) -> None:
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
    await asyncio.gather(*(part.close() for part in parts))
