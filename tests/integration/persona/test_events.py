"""What happens to personas is told to others."""

import asyncio
from collections.abc import AsyncGenerator

import orjson
import pytest
from redis.asyncio import Redis

from support.postgres import PostgresForTests
from support.service import ServiceUnderTest, running, settings_for
from tmws_persona.app import build
from tmws_persona.settings import PersonaSettings
from tmws_shared.events import STREAM
from tmws_shared.redis import open_redis

PERSONAS = "/api/v1/personas"


@pytest.fixture
async def redis(empty_redis_url: str) -> AsyncGenerator[Redis]:
    async with open_redis(empty_redis_url, timeout_s=1) as client:
        yield client


@pytest.fixture
async def personas(postgres: PostgresForTests, empty_redis_url: str) -> AsyncGenerator[ServiceUnderTest]:
    settings = settings_for(PersonaSettings, "persona", postgres.create_database(), empty_redis_url)
    async with running(build(settings), "persona") as service:
        yield service


async def told(redis: Redis, subject: str, count: int) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            events = [orjson.loads(fields[b"event"]) for _, fields in await redis.xrange(STREAM)]
            found = [(event["type"], event["data"]["version"]) for event in events if event["subject"] == subject]
            await asyncio.sleep(0.02)
    return found


async def test_life_of_a_persona_is_told(personas: ServiceUnderTest, redis: Redis) -> None:
    body = {"id": "scribe", "name": "Scribe"}
    assert (await personas.call("POST", PERSONAS, json=body)).status_code == 201
    await personas.call("PUT", f"{PERSONAS}/scribe", json={"name": "The scribe"})
    await personas.call("DELETE", f"{PERSONAS}/scribe")
    assert await told(redis, "scribe", 3) == [("persona.created", 1), ("persona.updated", 2), ("persona.deleted", 2)]
