"""Each service's migrations make exactly what its models describe, and can be run by many at once."""

import asyncio
import importlib
import re
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from support.postgres import PostgresForTests
from tmws_shared.migrations import migrate, newest_revision
from tmws_shared.settings import ConfigurationError

SERVICES = ["task", "workflow", "persona", "memory", "gateway"]
# Tables that shared code brings into a service's schema; they are no models of the service.
SHARED_TABLES = {"alembic_version", "idempotency_keys", "outbox", "inbox"}
# The memory service makes them as it needs them.
PARTITION = re.compile(r"memory_vectors_\d+")


def compare(connection: Connection, schema: str, metadata: MetaData) -> list[Any]:
    def include_name(name: str | None, kind: str, _: Any) -> bool:
        if kind == "schema":
            return name == schema
        return not (kind == "table" and (name in SHARED_TABLES or PARTITION.fullmatch(name or "")))

    options = {"include_schemas": True, "include_name": include_name}
    context = MigrationContext.configure(connection, opts=options)
    return compare_metadata(context, metadata)


@pytest.mark.parametrize("service", SERVICES)
async def test_migrated_schema_is_what_the_models_describe(postgres: PostgresForTests, service: str) -> None:
    url = postgres.create_database().for_service(service)
    await migrate(url, f"tmws_{service}", service)
    metadata = importlib.import_module(f"tmws_{service}.models").metadata
    # The first schema of the search path would be reflected without its name.
    outside = {"search_path": "public"}
    engine = create_async_engine(
        "postgresql+asyncpg://",
        poolclass=NullPool,
        async_creator=lambda: asyncpg.connect(url, server_settings=outside),
    )
    async with engine.connect() as connection:
        differences = await connection.run_sync(compare, service, metadata)
    await engine.dispose()
    assert differences == []


@pytest.mark.parametrize("service", SERVICES)
def test_newest_revision_is_alembics_head(service: str) -> None:
    script = ScriptDirectory.from_config(_config(f"tmws_{service}"))
    assert newest_revision(f"tmws_{service}") == script.get_current_head()


def _config(package: str) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", f"{package}:migrations")
    return config


async def test_eight_processes_may_migrate_at_once(postgres: PostgresForTests) -> None:
    url = postgres.create_database().for_service("task")
    await asyncio.gather(*(migrate(url, "tmws_task", "task") for _ in range(8)))
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("SELECT count(*) FROM tasks") == 0
    await connection.close()


async def test_schema_of_a_newer_release_is_refused(postgres: PostgresForTests) -> None:
    url = postgres.create_database().for_service("task")
    await migrate(url, "tmws_task", "task")
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.close()
    with pytest.raises(ConfigurationError, match="newer than this release"):
        await migrate(url, "tmws_task", "task")
