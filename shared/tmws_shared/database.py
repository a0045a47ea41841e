"""PostgreSQL through one asyncpg pool: named SQL and SQLModel expressions alike."""

# asyncpg has no type stubs; this is its border file.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownParameterType=false
from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Self, TypeAlias, TypedDict, Unpack

import asyncpg
import orjson
from sqlalchemy.dialects.postgresql.asyncpg import dialect as _asyncpg_dialect
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

from tmws_shared.problems import Unavailable

Row: TypeAlias = asyncpg.Record
Query: TypeAlias = str | ClauseElement

CONNECT_TIMEOUT_S = 5.0
ACQUIRE_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 10.0
_LOST_DETAIL = "The database is not available."
_DIALECT = _asyncpg_dialect()
_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # What an idle connection raises between the server's last word (crash, shutdown) and the closing of the socket.
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    # A deadlock: the server has undone the transaction, so that the other one can go on.
    asyncpg.TransactionRollbackError,
    ConnectionError,
    TimeoutError,
    OSError,
)


@contextmanager
def unavailable_when_lost() -> Generator[None]:
    """Turn a lost, refused or overloaded connection into a 503.

    Raises:
        Unavailable: the database cannot be reached now; nothing of the transaction is kept.
    """
    try:
        yield
    except _LOST as error:
        raise Unavailable(_LOST_DETAIL) from error


def compile_query(query: Query, args: tuple[Any, ...] = ()) -> tuple[str, tuple[Any, ...]]:
    """Return the SQL text with `$n` parameters, and their values.

    Values reach asyncpg as they are: its own codecs encode UUIDs, times and JSON.
    """
    if isinstance(query, str):
        return query, args
    compiled = query.compile(dialect=_DIALECT)
    if not isinstance(compiled, SQLCompiler):
        raise TypeError("only SQL expressions can be run")
    return compiled.string, tuple(compiled.params[name] for name in compiled.positiontup or ())


class Connection:
    """One connection inside one transaction."""

    def __init__(self, raw: asyncpg.pool.PoolConnectionProxy) -> None:
        self.raw = raw

    async def fetch(self, query: Query, *args: Any) -> list[Row]:
        """Return all rows."""
        sql, values = compile_query(query, args)
        return await self.raw.fetch(sql, *values)

    async def fetchrow(self, query: Query, *args: Any) -> Row | None:
        """Return the first row, or None."""
        sql, values = compile_query(query, args)
        return await self.raw.fetchrow(sql, *values)

    async def fetchval(self, query: Query, *args: Any) -> Any:
        """Return the first column of the first row, or None."""
        sql, values = compile_query(query, args)
        return await self.raw.fetchval(sql, *values)

    async def execute(self, query: Query, *args: Any) -> int:
        """Run the statement and return how many rows it touched."""
        sql, values = compile_query(query, args)
        tag = await self.raw.execute(sql, *values)
        count = tag.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0


class PoolOptions(TypedDict, total=False):
    """How a pool is opened."""

    max_size: int
    options: Mapping[str, str]
    """Settings of its sessions."""
    raw_types: Sequence[str]
    """Types of extensions, in public, whose values are given and come as bytes, in the type's wire form."""


class _Borrowed(AbstractAsyncContextManager[Connection]):
    """A connection of the pool for the time of a block.

    Written out: as a generator with another one inside it would take longer than many a query.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def __aenter__(self) -> Connection:
        with unavailable_when_lost():
            self._raw = await self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S)
        return Connection(self._raw)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            await self._pool.release(self._raw)
        except _LOST as lost:
            raise Unavailable(_LOST_DETAIL) from (error or lost)
        if isinstance(error, _LOST):
            raise Unavailable(_LOST_DETAIL) from error


class Database:
    """A pool of connections to one service's schema."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @classmethod
    async def connect(cls, url: str, *, name: str, **pool: Unpack[PoolOptions]) -> Self:
        """Open a pool; `name` shows in pg_stat_activity.

        Raises:
            Unavailable: the server cannot be reached.
        """
        with unavailable_when_lost():
            opened = await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=pool.get("max_size", 10),
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=COMMAND_TIMEOUT_S,
                max_inactive_connection_lifetime=60,
                init=partial(_use_codecs, pool.get("raw_types", ())),
                reset=_reset,
                server_settings={"application_name": name, "jit": "off", **pool.get("options", {})},
            )
        return cls(opened)

    async def close(self) -> None:
        """Close the pool, at the latest after two seconds."""
        try:
            await asyncio.wait_for(self._pool.close(), 2)
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """Run a block in one READ COMMITTED transaction.

        Raises:
            Unavailable: the connection was lost; the caller may try again.
        """
        with unavailable_when_lost():
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as raw, raw.transaction():
                yield Connection(raw)

    @asynccontextmanager
    async def snapshot(self) -> AsyncGenerator[Connection]:
        """Run a block that only reads, and sees one moment of the database whatever is committed meanwhile.

        Raises:
            Unavailable: the connection was lost; the caller may try again.
        """
        with unavailable_when_lost():
            async with (
                self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as raw,
                raw.transaction(isolation="repeatable_read", readonly=True),
            ):
                yield Connection(raw)

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """Run a block on one connection, each statement a transaction of its own."""
        return _Borrowed(self._pool)

    async def fetch(self, query: Query, *args: Any) -> list[Row]:
        """Return all rows of a single statement."""
        async with self.connection() as connection:
            return await connection.fetch(query, *args)

    async def fetchrow(self, query: Query, *args: Any) -> Row | None:
        """Return the first row of a single statement, or None."""
        async with self.connection() as connection:
            return await connection.fetchrow(query, *args)

    async def fetchval(self, query: Query, *args: Any) -> Any:
        """Return the first value of a single statement, or None."""
        async with self.connection() as connection:
            return await connection.fetchval(query, *args)

    async def execute(self, query: Query, *args: Any) -> int:
        """Run a single statement and return how many rows it touched."""
        async with self.connection() as connection:
            return await connection.execute(query, *args)

    async def check(self) -> None:
        """Return when the database answers.

        Raises:
            Unavailable: it does not.
        """
        await self.fetchval("SELECT 1")


async def _reset(raw: asyncpg.Connection) -> None:
    """Leave the connection as it is: nothing we do outlives its transaction.

    asyncpg would send a query to reset the session at every release: one round trip more a request.
    """
    if raw.is_in_transaction():
        await raw.reset()


async def _use_codecs(raw_types: Sequence[str], raw: asyncpg.Connection) -> None:
    for name in ("json", "jsonb"):
        await raw.set_type_codec(name, schema="pg_catalog", encoder=_dump_json, decoder=orjson.loads, format="text")
    for name in raw_types:
        await raw.set_type_codec(name, schema="public", encoder=bytes, decoder=bytes, format="binary")


def _dump_json(value: object) -> str:
    return orjson.dumps(value).decode()
