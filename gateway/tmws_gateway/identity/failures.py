"""Counts failed sign-ins by address and by address and key, and blocks these alone: nobody can lock out another."""

# redis-py types its commands loosely; this is its border file.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from cachetools import TTLCache

from tmws_gateway.identity.addresses import network_of
from tmws_shared.problems import TooManyRequests
from tmws_shared.redis import OptionalRedis, RedisDown

WINDOW_S = 60
MAX_BY_ADDRESS = 100
MAX_BY_KEY = 10
# From half of the limit on, a refusal takes this long: guessing one after the other is slow before it is blocked.
DELAY_S = 0.05
_PREFIX = "tmws:failures:"
# Adds one to each counter, whose first failure starts the window, and returns them.
_COUNT = """
local counts = {}
for number, key in ipairs(KEYS) do
  counts[number] = redis.call('INCR', key)
  if counts[number] == 1 then redis.call('EXPIRE', key, ARGV[1]) end
end
return counts
"""


class SignInFailures:
    """Failures of a minute, in Redis and in this process; the higher count holds.

    Only what has failed is counted: a burst of good credentials blocks nobody, nor does a Redis that answers late.
    """

    def __init__(self, redis: OptionalRedis) -> None:
        self._redis = redis
        self._local: TTLCache[str, int] = TTLCache(maxsize=100_000, ttl=WINDOW_S)

    async def check(self, address: str, key_id: str | None) -> None:
        """Return when another attempt is allowed.

        Raises:
            TooManyRequests: there were too many failures.
        """
        names = _names(address, key_id)
        here = [self._local.get(name, 0) for name in names]
        counts = map(max, here, await self._everywhere(names))
        if any(count >= limit for count, limit in zip(counts, _limits(names), strict=True)):
            raise _too_many()

    async def count(self, address: str, key_id: str | None) -> None:
        """Note a failure, and return as soon as it may be answered.

        Raises:
            TooManyRequests: of many at once this is one too many; it is not told whether the credential was wrong.
        """
        names = _names(address, key_id)
        here = [self._local.get(name, 0) + 1 for name in names]
        self._local.update(zip(names, here, strict=True))
        counts = list(map(max, here, await self._add(names)))
        if any(count > limit for count, limit in zip(counts, _limits(names), strict=True)):
            raise _too_many()
        if any(2 * count > limit for count, limit in zip(counts, _limits(names), strict=True)):
            await asyncio.sleep(DELAY_S)

    async def _add(self, names: Sequence[str]) -> Sequence[int]:
        try:
            client = self._redis.require()
            counts = await self._redis.ask(client.execute_command("EVAL", _COUNT, len(names), *names, WINDOW_S))
        except RedisDown:
            return [0] * len(names)
        return cast("list[int]", counts)

    async def _everywhere(self, names: Sequence[str]) -> Sequence[int]:
        try:
            counts = await self._redis.ask(self._redis.require().mget(names))
        except RedisDown:
            return [0] * len(names)
        return [int(count or 0) for count in counts]


def _too_many() -> TooManyRequests:
    return TooManyRequests("Too many failed attempts to sign in.", retry_after_s=WINDOW_S)


def _limits(names: Sequence[str]) -> Sequence[int]:
    return (MAX_BY_ADDRESS, MAX_BY_KEY)[: len(names)]


def _names(address: str, key_id: str | None) -> list[str]:
    network = network_of(address)
    return [_PREFIX + network, *([f"{_PREFIX}{network}/{key_id}"] if key_id else [])]
