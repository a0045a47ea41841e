"""A gateway without authentication, and the parts of one on a real database and Redis."""

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from support.audit import migrate_gateway
from support.gateway import GatewayUnderTest, running_gateway
from support.loops import ASYNCIO, BOTH, LoopFactories
from support.postgres import DatabaseUrls, PostgresForTests
from tmws_shared.database import Database
from tmws_shared.redis import OptionalRedis


def pytest_asyncio_loop_factories(item: pytest.Item) -> LoopFactories:
    return BOTH if item.path.name == "test_proxy.py" else ASYNCIO


@pytest.fixture(scope="session")
def gateway(postgres: PostgresForTests, redis_url: str, short_directory: Path) -> Iterator[GatewayUnderTest]:
    with running_gateway(
        postgres.create_database(), redis_url, short_directory / "open", rate_limit_requests="1000000"
    ) as running:
        yield running


@pytest.fixture
def urls(postgres: PostgresForTests) -> DatabaseUrls:
    return postgres.create_database(template="gateway", prepare=migrate_gateway)


@pytest.fixture
async def database(urls: DatabaseUrls) -> AsyncGenerator[Database]:
    opened = await Database.connect(urls.for_service("gateway"), name="test", max_size=3)
    yield opened
    await opened.close()


@pytest.fixture
async def redis(empty_redis_url: str) -> AsyncGenerator[OptionalRedis]:
    opened = OptionalRedis.at(empty_redis_url)
    yield opened
    await opened.close()
