"""Counts failed sign-ins by address and by address and key, and blocks these alone: nobody can lock out another."""

from __future__ import annotations

from cachetools import TTLCache
from redis.asyncio import Redis

from tmws_shared.problems import TooManyRequests
from tmws_shared.redis import OptionalRedis, RedisDown

WINDOW_S = 60
MAX_BY_ADDRESS = 100
MAX_BY_KEY = 10
_PREFIX = "tmws:failures:"
# Adds one to each counter, whose first failure starts the window.
_COUNT = """
for _, key in ipairs(KEYS) do
  if redis.call('INCR', key) == 1 then redis.call('EXPIRE', key, ARGV[1]) end
end
"""


class SignInFailures:
    """Failures of the last minute, in Redis and in this process; the higher count holds."""

    def __init__(self, redis: OptionalRedis) -> None:
        self._redis = redis
        self._local: TTLCache[str, int] = TTLCache(maxsize=100_000, ttl=WINDOW_S)

    async def check(self, address: str, key_id: str | None) -> None:
        """Return when another attempt is allowed.

        Raises:
            TooManyRequests: there were too many failures.
        """
        names = _names(address, key_id)
        counts = [max(pair) for pair in zip(self._here(names), await self._everywhere(names), strict=True)]
        if any(count >= limit for count, limit in zip(counts, (MAX_BY_ADDRESS, MAX_BY_KEY), strict=False)):
            raise TooManyRequests("Too many failed attempts to sign in.", retry_after_s=WINDOW_S)

    async def count(self, address: str, key_id: str | None) -> None:
        """Note a failure."""
        names = _names(address, key_id)
        for name in names:
            self._local[name] = self._local.get(name, 0) + 1
        try:
            client = self._redis.require()
            await self._redis.ask(self._add(client, names))
        except RedisDown:
            return

    async def _add(self, client: Redis, names: list[str]) -> None:
        async with client.pipeline(transaction=False) as pipe:
            pipe.eval(_COUNT, len(names), *names, str(WINDOW_S))
            await pipe.execute()

    def _here(self, names: list[str]) -> list[int]:
        return [self._local.get(name, 0) for name in names]

    async def _everywhere(self, names: list[str]) -> list[int]:
        try:
            counts = await self._redis.ask(self._redis.require().mget(names))
        except RedisDown:
            return [0] * len(names)
        return [int(count or 0) for count in counts]


def _names(address: str, key_id: str | None) -> list[str]:
    return [_PREFIX + address, *([f"{_PREFIX}{address}/{key_id}"] if key_id else [])]
