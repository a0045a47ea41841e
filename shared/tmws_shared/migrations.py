"""Bring a service's own schema to its newest revision (Alembic, without an ini file).

Revisions of a service are `migrations/versions/NNNN_<what>.py` in one line; the revision id is `NNNN`.
"""

# asyncpg has no type stubs; this is its border file.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownParameterType=false
from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING

import asyncpg

from tmws_shared.database import unavailable_when_lost
from tmws_shared.settings import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Connection, MetaData

LOCK_TIMEOUT_MS = 4_000
_LOCK = "SELECT pg_advisory_lock(hashtext('tmws migrations of ' || $1))"
_UNLOCK = "SELECT pg_advisory_unlock(hashtext('tmws migrations of ' || $1))"


def newest_revision(package: str) -> str:
    """Return the newest revision that `package` ships."""
    versions = files(package).joinpath("migrations", "versions")
    return max(item.name[:4] for item in versions.iterdir() if item.name[:4].isdigit())


async def migrate(url: str, package: str, schema: str) -> None:
    """Upgrade `schema` to the newest revision of `package`; a few milliseconds when it is there.

    Processes that start together wait for each other on an advisory lock.

    Raises:
        Unavailable: the database cannot be reached.
        ConfigurationError: the schema was made by a newer release.
    """
    with unavailable_when_lost():
        connection = await asyncpg.connect(url, timeout=5)
        try:
            newest = newest_revision(package)
            if await _current(connection, schema) == newest:
                return
            await connection.execute(_LOCK, schema, timeout=120)
            try:
                current = await _current(connection, schema)
                if (current or "") > newest:
                    raise ConfigurationError(
                        [f"schema {schema} is at revision {current}, newer than this release ({newest})"]
                    )
                if current != newest:
                    await asyncio.to_thread(_upgrade, url, package, schema)
            finally:
                await connection.execute(_UNLOCK, schema)
        finally:
            await connection.close(timeout=2)


async def _current(connection: asyncpg.Connection, schema: str) -> str | None:
    if await connection.fetchval("SELECT to_regclass($1)", f"{schema}.alembic_version") is None:
        return None
    return await connection.fetchval(f'SELECT version_num FROM "{schema}".alembic_version')  # noqa: S608 -- our own constant


def _upgrade(url: str, package: str, schema: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", f"{package}:migrations")
    config.attributes.update(url=url, schema=schema)
    command.upgrade(config, "head")


def run_script(script: str) -> None:
    """Run SQL statements, separated by semicolons, in the transaction of the migration."""
    from alembic import op

    # A prepared statement holds one command only; asyncpg's simple protocol takes a script.
    adapted = op.get_bind().connection.dbapi_connection
    assert adapted is not None  # noqa: S101 -- a migration runs online
    adapted.run_async(lambda raw: raw.execute(script))


def run_environment(metadata: MetaData, attributes: Mapping[str, str]) -> None:
    """Be the body of a service's `migrations/env.py`."""
    from alembic import context
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    schema = attributes["schema"]

    def run(connection: Connection) -> None:
        context.configure(
            connection=connection,
            target_metadata=metadata,
            version_table_schema=schema,
            include_schemas=True,
            include_name=lambda name, kind, _: kind != "schema" or name == schema,
        )
        with context.begin_transaction():
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
            connection.exec_driver_sql(f'SET LOCAL search_path TO "{schema}", public')
            context.run_migrations()

    async def main() -> None:
        engine = create_async_engine(
            "postgresql+asyncpg://",
            poolclass=NullPool,
            async_creator=lambda: asyncpg.connect(attributes["url"]),
        )
        async with engine.connect() as connection:
            await connection.run_sync(run)
        await engine.dispose()

    asyncio.run(main())
