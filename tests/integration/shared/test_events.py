"""Events travel from one service's outbox over the stream into another's inbox, each effective once."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

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


async def wait_for(database: Database, sql: str, expected: list[str]) -> None:
    async with asyncio.timeout(10):
        while [row[0] for row in await database.fetch(sql)] != expected:
            await asyncio.sleep(0.01)


EFFECTS = "SELECT subject FROM effects ORDER BY subject"
OUTBOX = "SELECT subject FROM outbox ORDER BY subject"


@asynccontextmanager
async def running(*parts: Relay | Reader) -> AsyncGenerator[None]:
    loops = [asyncio.create_task(part.run()) for part in parts]
    try:
        yield
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await asyncio.gather(*(part.close() for part in parts))


async def tell(database: Database, relay: Relay, *subjects: str, kind: str = "thing.happened") -> None:
    async with database.transaction() as connection:
        for subject in subjects:
            await append_event(connection, kind, "default", subject, {})
    relay.wake()


async def test_event_reaches_the_reader(database: Database, empty_redis_url: str) -> None:
    relay, reader = Relay(database, empty_redis_url), Reader(database, empty_redis_url, "test", TYPES, take_effect)
    async with running(relay, reader):
        await tell(database, relay, "ignored", kind="thing.ignored")
        await tell(database, relay, "one", "two")
        await wait_for(database, EFFECTS, ["one", "two"])
        await wait_for(database, OUTBOX, [])


async def test_rolled_back_change_tells_nobody(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as connection:
            await append_event(connection, "thing.happened", "default", "never", {})
            raise ZeroDivisionError
    assert await database.fetch(OUTBOX) == []


async def test_repeated_event_takes_effect_once(database: Database, empty_redis_url: str) -> None:
    relay, reader = Relay(database, empty_redis_url), Reader(database, empty_redis_url, "test", TYPES, take_effect)
    async with running(relay, reader):
        await tell(database, relay, "one")
        await wait_for(database, EFFECTS, ["one"])
        async with open_redis(empty_redis_url, timeout_s=1) as redis:
            (entry,) = await redis.xrange(STREAM)
            await redis.xadd(STREAM, entry[1])
        await tell(database, relay, "two")
        await wait_for(database, EFFECTS, ["one", "two"])


async def test_reader_goes_on_where_another_of_its_group_died(database: Database, empty_redis_url: str) -> None:
    relay, first = Relay(database, empty_redis_url), Reader(database, empty_redis_url, "test", TYPES, take_effect)
    second = Reader(database, empty_redis_url, "test", TYPES, take_effect)
    async with running(relay):
        async with running(first):
            await tell(database, relay, "one")
            await wait_for(database, EFFECTS, ["one"])
        await tell(database, relay, "two")
        async with running(second):
            await wait_for(database, EFFECTS, ["one", "two"])


async def test_events_wait_while_redis_is_away(database: Database) -> None:
    relay = Relay(database, "unix:///nowhere/redis.sock")
    async with running(relay):
        await tell(database, relay, "kept")
        await asyncio.sleep(0.2)
    await wait_for(database, OUTBOX, ["kept"])
