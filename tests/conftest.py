"""Fixtures that every kind of test may use; each is made when the first test asks for it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from support.postgres import PostgresForTests
from support.redis import RedisForTests

E2E = Path(__file__).parent / "e2e"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests that share one stack first and in one process, those of any other file together."""
    items.sort(key=lambda item: not item.path.is_relative_to(E2E))
    for item in items:
        group = "e2e" if item.path.is_relative_to(E2E) else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def short_directory() -> Iterator[Path]:
    """A temporary folder with a path short enough for sockets (pytest's own is often too long)."""
    directory = Path(tempfile.mkdtemp(prefix="tmws-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(short_directory: Path) -> Iterator[PostgresForTests]:
    """The session's PostgreSQL; see support/postgres.py."""
    server = PostgresForTests(short_directory)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_server(short_directory: Path) -> Iterator[RedisForTests]:
    """The session's Redis; see support/redis.py."""
    server = RedisForTests(short_directory)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisForTests) -> str:
    """The URL of the session's Redis, with whatever earlier tests left in it."""
    return redis_server.url


@pytest.fixture
def empty_redis_url(redis_url: str) -> str:
    """The URL of the session's Redis, emptied."""
    with Redis.from_url(redis_url) as client:
        client.flushall()
    return redis_url
