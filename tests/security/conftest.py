"""One gateway with authentication, for all rows of the table in the security design."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.gateway import ORIGIN, PUBLIC_URL, GatewayUnderTest, fresh_address, running_gateway
from support.postgres import PostgresForTests


@pytest.fixture(scope="session")
def gateway(postgres: PostgresForTests, redis_url: str, short_directory: Path) -> Iterator[GatewayUnderTest]:
    with running_gateway(
        postgres.create_database(),
        redis_url,
        short_directory / "secure",
        auth_enabled="true",
        rate_limit_requests="1000000",
        public_url=PUBLIC_URL,
        cors_origins=ORIGIN,
    ) as running:
        yield running


@pytest.fixture(scope="session")
def key(gateway: GatewayUnderTest) -> str:
    """A key with all scopes."""
    return gateway.admin_key


@pytest.fixture
def stranger() -> str:
    """An address that has not failed to sign in yet."""
    return fresh_address()
