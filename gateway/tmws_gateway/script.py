"""A Lua script in Redis, called over a connection that is held."""

# redis-py types its connections loosely; this is its border file.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, cast

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisGone
from redis.exceptions import NoScriptError

from tmws_shared.redis import OptionalRedis
from tmws_shared.telemetry import calling

_SPAN = {"db.system.name": "redis", "db.operation.name": "EVALSHA"}


class Script:
    """Sends several calls at once and reads their answers.

    redis-py's pipeline borrows a connection and tries whether it still works, each time; this costs half of it. One
    task at a time may call.
    """

    def __init__(self, redis: OptionalRedis, source: str) -> None:
        self._redis = redis
        self._source = source
        self._sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        self._connection: AbstractConnection | None = None

    async def call(self, calls: Sequence[Sequence[str]]) -> list[Any]:
        """Call the script with each list of one key and its arguments, and return the answers.

        Raises:
            RedisDown: Redis failed or did not answer in time.
        """
        with calling("EVALSHA", _SPAN):
            return await self._redis.ask(self._call(self._redis.require(), calls))

    async def _call(self, client: Redis, calls: Sequence[Sequence[str]]) -> list[Any]:
        if self._connection is None:
            pool = cast("ConnectionPool", client.connection_pool)
            self._connection = await pool.get_connection()
        try:
            return await self._exchange(self._connection, calls)
        except RedisGone:
            # Redis was restarted since the last call. A request that was counted before is counted twice at worst.
            return await self._load_and_call(client, self._connection, calls)
        except NoScriptError:
            return await self._load_and_call(client, self._connection, calls)

    async def _load_and_call(
        self, client: Redis, connection: AbstractConnection, calls: Sequence[Sequence[str]]
    ) -> list[Any]:
        await client.script_load(self._source)
        return await self._exchange(connection, calls)

    async def _exchange(self, connection: AbstractConnection, calls: Sequence[Sequence[str]]) -> list[Any]:
        """One write, and as many answers as calls; whatever else happens, no answer stays in the connection."""
        commands = connection.pack_commands([("EVALSHA", self._sha, "1", *arguments) for arguments in calls])
        is_clean = False
        try:
            await connection.send_packed_command(commands)
            answers = [await _read(connection) for _ in calls]
            is_clean = True
        finally:
            if not is_clean:
                await connection.disconnect(nowait=True)
        missing = next((answer for answer in answers if isinstance(answer, NoScriptError)), None)
        if missing is not None:
            raise missing
        return answers


async def _read(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except NoScriptError as error:
        return error
