"""Tells every gateway at once which key or token is not what it was."""

# redis-py types its commands loosely; this is its border file.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError

from tmws_shared.cancellation import is_cancelled
from tmws_shared.redis import OptionalRedis, RedisDown, open_redis

_log = logging.getLogger(__name__)

CHANNEL = "tmws:credentials"
# Everything that was verified: what was said while nobody listened is not said again.
ALL = ""
WAIT_S = 5.0
RETRY_S = 1.0


def of_key(key_id: str) -> str:
    """Return the mark of whatever an API key was needed for."""
    return f"key {key_id}"


def of_token(issuer: str, token_id: str) -> str:
    """Return the mark of one access token."""
    return f"token {issuer} {token_id}"


class CredentialChanges:
    """Passes marks on over Redis; without it what is verified lives on for its minute elsewhere."""

    def __init__(self, redis: OptionalRedis, url: str = "", forget: Callable[[str], None] | None = None) -> None:
        self._redis = redis
        # Who waits has a connection of its own, and more patience.
        self._waiting = open_redis(url, connect_timeout_s=1, timeout_s=WAIT_S + 2) if url else None
        self._forget = forget

    async def tell(self, mark: str) -> None:
        """Have every gateway, this one first, forget what depends on a key or a token."""
        if self._forget is not None:
            self._forget(mark)
        try:
            await self._redis.ask(self._redis.require().publish(CHANNEL, mark))
        except RedisDown:
            _log.warning("other gateways hear of a changed credential within a minute only: Redis is out of reach")

    async def listen(self) -> None:
        """Forget what other gateways tell of, until cancelled; a lost server is a pause."""
        if self._waiting is None or self._forget is None:
            return
        while not is_cancelled():
            try:
                await self._follow(self._forget)
            except (RedisError, OSError):
                await asyncio.sleep(RETRY_S)

    async def _follow(self, forget: Callable[[str], None]) -> None:
        assert self._waiting is not None  # noqa: S101 -- listen looks
        async with self._waiting.pubsub(ignore_subscribe_messages=False) as channel:
            await channel.subscribe(CHANNEL)
            is_asked = False
            while True:
                message: Any = await channel.get_message(timeout=WAIT_S)
                if message is None and is_asked:
                    raise ConnectionError("Redis does not answer")
                is_asked = message is None
                if message is None:
                    await channel.ping()
                elif message["type"] == "subscribe":
                    forget(ALL)
                elif message["type"] == "message":
                    forget(message["data"].decode())

    async def close(self) -> None:
        """Close the connection."""
        if self._waiting is not None:
            await self._waiting.aclose()
