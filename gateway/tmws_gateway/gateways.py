"""How many gateways there are: each says so in Redis, and knows what it saw last while Redis is away."""

from __future__ import annotations

from contextlib import suppress

from tmws_shared.background import every
from tmws_shared.clock import new_id
from tmws_shared.redis import OptionalRedis, RedisDown, run_script

TELL_EVERY_S = 5.0
# Who has not been heard of for so long is gone.
KEPT_S = 15
_KEY = "tmws:gateways"
# ARGV: our id, and how long an id is kept in s. Answers how many there are.
_TELL = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
"""


class Gateways:
    """The gateways that use the same Redis."""

    def __init__(self, redis: OptionalRedis) -> None:
        self._redis = redis
        self._id = str(new_id())
        self._count = 1

    def count(self) -> int:
        """Return how many there were when Redis was last asked."""
        return self._count

    async def run(self) -> None:
        """Say that we are here, and count, again and again."""
        await every(TELL_EVERY_S, self.tell)

    async def tell(self) -> None:
        """Say that we are here, and count."""
        with suppress(RedisDown):
            client = self._redis.require()
            self._count = int(await self._redis.ask(run_script(client, _TELL, _KEY, self._id, KEPT_S)))

    async def leave(self) -> None:
        """Say that we are gone."""
        with suppress(RedisDown):
            client = self._redis.require()
            await self._redis.ask(client.zrem(_KEY, self._id))
