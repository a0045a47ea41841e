"""How tests are run, and fixtures that every kind of test may use; each is made when the first test asks for it."""

import gc
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from redis import Redis
from xdist.scheduler import LoadScopeScheduling

from support.postgres import PostgresForTests
from support.redis import RedisForTests

SHARES_A_STACK = "tests/e2e/"

# `./taskw test:long` takes the deep one.
settings.register_profile("quick", max_examples=25, deadline=None)
settings.register_profile("deep", max_examples=300, deadline=None)
settings.load_profile("quick")
# What is imported and collected stays: a fifth of all time would go into walking it again and again.
gc.disable()


class ByFile(LoadScopeScheduling):
    """Gives a process the tests of a whole file, whose fixtures are made once, and one those that share a stack."""

    def _split_scope(self, nodeid: str) -> str:
        return SHARES_A_STACK if nodeid.startswith(SHARES_A_STACK) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that share a stack: together they take longest."""
    items.sort(key=lambda item: not item.nodeid.startswith(SHARES_A_STACK))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


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
