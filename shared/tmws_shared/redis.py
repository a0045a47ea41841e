"""Redis, which may be absent at any moment: short timeouts and a circuit breaker."""

# redis-py types its commands loosely; this is its border file.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownParameterType=false
from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

Answer = TypeVar("Answer")

CONNECT_TIMEOUT_S = 0.02
OPERATION_TIMEOUT_S = 0.05
FAILURES_TO_OPEN = 3
OPEN_S = 5.0


class RedisDown(Exception):
    """Redis is not configured, does not answer in time, or did not lately."""


def open_redis(
    url: str,
    *,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    timeout_s: float = OPERATION_TIMEOUT_S,
) -> Redis:
    """Return a client for `url`; it connects when first used."""
    return Redis.from_url(
        url,
        socket_connect_timeout=connect_timeout_s,
        socket_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )


async def run_script(client: Redis, script: str, key: str, *arguments: bytes | str | int) -> Any:
    """Run a Lua script on one key and return its answer."""
    return await client.execute_command("EVAL", script, 1, key, *arguments)


class OptionalRedis:
    """Redis behind a breaker: after three failures it is left alone for five seconds."""

    def __init__(self, client: Redis | None) -> None:
        self.client = client
        self._failures = 0
        self._open_until = 0.0

    @classmethod
    def at(cls, url: str) -> OptionalRedis:
        """Return the Redis at `url`; with an empty URL it is always down."""
        return cls(open_redis(url) if url else None)

    @property
    def is_up(self) -> bool:
        """Whether a call would be tried now."""
        return self.client is not None and time.monotonic() >= self._open_until

    def require(self) -> Redis:
        """Return the client.

        Raises:
            RedisDown: Redis is not configured, or the breaker is open.
        """
        if self.client is None or not self.is_up:
            raise RedisDown
        return self.client

    async def ask(self, answer: Awaitable[Answer]) -> Answer:
        """Wait for a command's answer and count failures.

        Raises:
            RedisDown: Redis failed or did not answer in time.
        """
        try:
            value = await answer
        except (RedisError, OSError, TimeoutError) as error:
            self.note_failure()
            raise RedisDown from error
        self._failures = 0
        return value

    def note_failure(self) -> None:
        """Count a failure; the third one in a row opens the breaker."""
        self._failures += 1
        if self._failures >= FAILURES_TO_OPEN:
            self._open_until = time.monotonic() + OPEN_S
            self._failures = 0

    async def close(self) -> None:
        """Close the connections."""
        if self.client is not None:
            await self.client.aclose()
