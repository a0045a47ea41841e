"""Events travel from one service's outbox over the stream into another's inbox, each effective once."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import orjson
import pytest
from redis.asyncio import Redis

from support.postgres import DatabaseUrls, PostgresForTests
from support.redis import RedisForTests
from tmws_contracts.events import Event
from tmws_shared.background import running as running_loops
from tmws_shared.clock import new_id
from tmws_shared.database import Connection, Database
from tmws_shared.event_reader import ATTEMPTS, SET_ASIDE, Reader
from tmws_shared.events import ADD_BATCH, INBOX_DDL, OUTBOX_DDL, RELAY_BATCH, STREAM, Relay, append_event, relaying
from tmws_shared.redis import open_redis

EFFECTS_DDL = "CREATE TABLE effects (position serial, subject text)"
TYPES = frozenset({"thing.happened"})


def prepare(urls: DatabaseUrls) -> None:
    async def create() -> None:
        database = await Database.connect(urls.for_service("task"), name="test")
        async with database.connection() as connection:
            await connection.raw.execute(OUTBOX_DDL + INBOX_DDL + EFFECTS_DDL)
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


EFFECTS = "SELECT subject FROM effects ORDER BY position"
BUNDLED = "INSERT INTO outbox (id, type, namespace, subject, data) VALUES ($1, 'bundle', '', '', $2)"
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


async def test_without_redis_old_events_are_dropped(database: Database) -> None:
    async with database.transaction() as connection:
        for subject in ("old", "new"):
            await append_event(connection, "thing.happened", "default", subject, {})
        await connection.execute("UPDATE outbox SET occurred_at = now() - interval '2 minutes' WHERE subject = 'old'")
    async with relaying(database, "") as (loops, wake), running_loops(loops):
        wake()
        await wait_for(database, OUTBOX, ["new"])


async def test_events_wait_while_redis_is_away(database: Database) -> None:
    relay = Relay(database, "unix:///nowhere/redis.sock")
    async with running(relay):
        await tell(database, relay, "kept")
        await asyncio.sleep(0.2)
    await wait_for(database, OUTBOX, ["kept"])


def reader_of(database: Database, url: str, take_over_after_s: float = 0.3) -> Reader:
    return Reader(database, url, "test", TYPES, take_effect, take_over_after_s)


@pytest.fixture
async def redis(empty_redis_url: str) -> AsyncGenerator[Redis]:
    async with open_redis(empty_redis_url, timeout_s=1) as client:
        yield client


async def events_in(redis: Redis, stream: str = STREAM) -> list[Event]:
    return [Event.model_validate(orjson.loads(fields[b"event"])) for _, fields in await redis.xrange(stream)]


async def until_settled(redis: Redis) -> None:
    """Until nothing is pending in the readers' group."""
    async with asyncio.timeout(10):
        while (await redis.xpending(STREAM, "test"))["pending"]:
            await asyncio.sleep(0.01)


async def test_two_relays_keep_the_order(database: Database, redis: Redis, empty_redis_url: str) -> None:
    subjects = [f"{number:04}" for number in range(3 * RELAY_BATCH)]
    relays = Relay(database, empty_redis_url), Relay(database, empty_redis_url)
    async with running(*relays):
        await tell(database, relays[0], *subjects)
        relays[1].wake()
        await wait_for(database, OUTBOX, [])
    assert [event.subject for event in await events_in(redis)] == subjects


async def test_event_comes_as_it_was_told(database: Database, redis: Redis, empty_redis_url: str) -> None:
    relay = Relay(database, empty_redis_url)
    data = {"text": "é \u2028", "number": 1.5, "nested": {"list": [None, True]}}
    async with running(relay):
        async with database.transaction() as connection:
            await append_event(connection, "thing.happened", "team-a", "one", data)
        row = await database.fetchrow("SELECT id, occurred_at FROM outbox")
        relay.wake()
        await wait_for(database, OUTBOX, [])
    expected = Event(type="thing.happened", namespace="team-a", subject="one", data=data, **dict(row or {}))
    assert await events_in(redis) == [expected]


async def test_events_that_share_a_row_come_one_by_one(database: Database, redis: Redis, empty_redis_url: str) -> None:
    told = [
        {"id": str(new_id()), "type": "thing.happened", "namespace": "team-a", "subject": str(number), "data": {}}
        for number in range(ADD_BATCH + 1)
    ]
    relay = Relay(database, empty_redis_url)
    async with running(relay):
        await database.execute(BUNDLED, new_id(), told)
        relay.wake()
        await wait_for(database, OUTBOX, [])
    events = await events_in(redis)
    assert [str(event.id) for event in events] == [event["id"] for event in told]
    assert [event.subject for event in events] == [event["subject"] for event in told]


async def test_what_a_dead_reader_had_pending_takes_effect(
    database: Database, redis: Redis, empty_redis_url: str
) -> None:
    relay = Relay(database, empty_redis_url)
    await redis.xgroup_create(STREAM, "test", id="0", mkstream=True)
    async with running(relay):
        await tell(database, relay, "one", "two")
        await wait_for(database, OUTBOX, [])
        await redis.xreadgroup("test", "dead", {STREAM: ">"})
        async with running(reader_of(database, empty_redis_url)):
            await wait_for(database, EFFECTS, ["one", "two"])
            await until_settled(redis)


async def test_pending_event_that_the_stream_has_forgotten_is_dropped(
    database: Database, redis: Redis, empty_redis_url: str
) -> None:
    relay = Relay(database, empty_redis_url)
    await redis.xgroup_create(STREAM, "test", id="0", mkstream=True)
    async with running(relay):
        await tell(database, relay, "lost")
        await wait_for(database, OUTBOX, [])
        await redis.xreadgroup("test", "dead", {STREAM: ">"})
        await redis.xtrim(STREAM, maxlen=0)
        await tell(database, relay, "next")
        async with running(reader_of(database, empty_redis_url)):
            await wait_for(database, EFFECTS, ["next"])
            await until_settled(redis)


async def test_reader_that_left_nothing_behind_is_forgotten(
    database: Database, redis: Redis, empty_redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tmws_shared.event_reader.FORGOTTEN_AFTER_MS", 100)
    await redis.xgroup_create(STREAM, "test", id="0", mkstream=True)
    await redis.xgroup_createconsumer(STREAM, "test", "old")
    relay = Relay(database, empty_redis_url)
    async with running(relay, reader_of(database, empty_redis_url, 0.1)), asyncio.timeout(10):
        while b"old" in [reader["name"] for reader in await redis.xinfo_consumers(STREAM, "test")]:
            await asyncio.sleep(0.02)
        await tell(database, relay, "one")
        await wait_for(database, EFFECTS, ["one"])


async def test_event_that_nobody_can_take_is_set_aside_and_stops_nobody(
    database: Database, redis: Redis, empty_redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[str] = []

    async def refuse_one(connection: Connection, event: Event) -> None:
        tried.append(event.subject)
        if event.subject == "poison":
            raise ValueError("cannot be taken")
        await take_effect(connection, event)

    relay = Relay(database, empty_redis_url)
    reader = Reader(database, empty_redis_url, "test", TYPES, refuse_one, 0.1)
    with caplog.at_level(logging.ERROR):
        async with running(relay, reader):
            await tell(database, relay, "one", "poison", "two")
            await wait_for(database, EFFECTS, ["one", "two"])
            async with asyncio.timeout(10):
                while not await redis.xlen(SET_ASIDE):
                    await asyncio.sleep(0.02)
            await until_settled(redis)
    (aside,) = await events_in(redis, SET_ASIDE)
    assert (aside.subject, tried.count("poison")) == ("poison", ATTEMPTS)
    assert str(aside.id) in caplog.text
    assert await database.fetchval("SELECT count(*) FROM inbox WHERE event_id = $1", aside.id) == 0


async def test_entry_that_is_no_event_stops_nobody(database: Database, redis: Redis, empty_redis_url: str) -> None:
    relay = Relay(database, empty_redis_url)
    await redis.xadd(STREAM, {"event": b"{"})
    await redis.xadd(STREAM, {"other": b"1"})
    async with running(relay, reader_of(database, empty_redis_url, 0.05)):
        await tell(database, relay, "one")
        await wait_for(database, EFFECTS, ["one"])
        await until_settled(redis)
    assert await redis.xlen(SET_ASIDE) == 2


async def test_reader_goes_on_after_all_of_redis_was_flushed(
    database: Database, redis: Redis, empty_redis_url: str
) -> None:
    relay = Relay(database, empty_redis_url)
    async with running(relay, reader_of(database, empty_redis_url)):
        await tell(database, relay, "one")
        await wait_for(database, EFFECTS, ["one"])
        await redis.flushall()
        await tell(database, relay, "two")
        await wait_for(database, EFFECTS, ["one", "two"])


async def test_events_arrive_once_redis_is_back(database: Database, redis_server: RedisForTests) -> None:
    relay = Relay(database, redis_server.url)
    async with running(relay, reader_of(database, redis_server.url)):
        await tell(database, relay, "one")
        await wait_for(database, EFFECTS, ["one"])
        redis_server.stop()
        await tell(database, relay, "two")
        redis_server.start()
        await wait_for(database, EFFECTS, ["one", "two"])
        await wait_for(database, OUTBOX, [])
