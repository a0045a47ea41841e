"""Servers that may be killed: each test module has a PostgreSQL and a Redis of its own."""

import tempfile
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from support.postgres import PostgresForTests
from support.redis import RedisForTests
from support.workflow_engine import Engine, running_engine

# What is acknowledged must have been flushed: these servers are killed.
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tmws-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[PostgresForTests]:
    server = PostgresForTests(folder, DURABLE)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def redis_of_ours(folder: Path) -> Iterator[RedisForTests]:
    server = RedisForTests(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def engine(cluster: PostgresForTests, redis_of_ours: RedisForTests, folder: Path) -> AsyncGenerator[Engine]:
    async with running_engine(cluster.create_database(), folder, redis_of_ours.url) as running:
        yield running
