"""The doorbell: wakes workers early; Postgres alone knows what there is to do.

A ring is published, so that every worker that listens hears it within a millisecond and an idle one asks for nothing.
When nobody listens arq keeps the ring for the worker that comes next. A lost ring costs a poll interval, never work.
arq is in maintenance only, so it stays behind these two methods.
"""

# redis-py types its commands loosely; this is its border file.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson
from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from arq.worker import Worker, func
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from tmws_shared.cancellation import is_cancelled

_log = logging.getLogger(__name__)
_RETRY_S = 1.0
_RING_TIMEOUT_S = 1.0
# After so long a silence Redis is asked whether it is still there, and given as long to answer.
_SILENCE_S = 5.0
_KEPT_TIMEOUT_S = 2.0
_KEPT_POLL_S = 0.02
# A flood of work must not become a flood of rings; the first one is never late.
_BETWEEN_RINGS_S = 0.02
_JOB = "ring"


def _settings(url: str) -> RedisSettings:
    settings = RedisSettings.from_dsn(url)
    settings.conn_timeout, settings.conn_retries = 1, 0
    return settings


def _dump(job: dict[str, Any]) -> bytes:
    # What became of a ring whose worker died is an exception.
    return orjson.dumps(job, default=repr)


class Doorbell:
    """Rings for all who listen to one queue."""

    def __init__(self, url: str, queue: str) -> None:
        self._url = url
        self._queue = f"tmws:bell:{queue}"
        self._pool: ArqRedis | None = None

    async def ring(self) -> None:
        """Wake whoever listens, or who will; rings that nobody has heard yet count as one. Never fails."""
        if not self._url:
            return
        try:
            if self._pool is None:
                self._pool = await self._connect()
            if not await self._pool.publish(self._queue, b""):
                await self._pool.enqueue_job(_JOB, _job_id=self._queue)
        except (RedisError, OSError, TimeoutError):
            _log.debug("the doorbell did not ring; workers poll")

    async def listen(self, heard: Callable[[], None]) -> None:
        """Call `heard` at every ring, until cancelled; comes back when Redis does."""
        while self._url and not is_cancelled():
            try:
                await self._open_ears(heard)
            except (RedisError, OSError, TimeoutError):
                _log.debug("the doorbell is out of reach")
            await asyncio.sleep(_RETRY_S)

    async def _open_ears(self, heard: Callable[[], None]) -> None:
        pool = await self._connect()
        try:
            async with pool.pubsub() as channel:
                await channel.subscribe(self._queue)
                # In this order: a ring is either kept or heard.
                await self._take_kept(pool, heard)
                await _hear(channel, heard)
        finally:
            await pool.aclose(close_connection_pool=True)

    async def _take_kept(self, pool: ArqRedis, heard: Callable[[], None]) -> None:
        async def ring(ctx: dict[Any, Any]) -> None:
            heard()

        # Not closed afterwards: Worker.close() warns of a method that redis-py has deprecated.
        worker = Worker(
            functions=[func(ring, name=_JOB, keep_result=0, max_tries=1, timeout=1)],
            queue_name=self._queue,
            redis_pool=pool,
            burst=True,
            poll_delay=_KEPT_POLL_S,
            keep_result=0,
            max_tries=1,
            handle_signals=False,
            job_serializer=_dump,
            job_deserializer=orjson.loads,
            health_check_interval=1,
        )
        taking = asyncio.ensure_future(worker.async_run())
        try:
            # One that is held by a worker that died is not worth waiting for.
            await asyncio.wait({taking}, timeout=_KEPT_TIMEOUT_S)
        finally:
            # arq is asked to end: a cancellation in the middle of an exchange would cost the connection.
            worker.max_burst_jobs = 0
            await asyncio.wait({taking}, timeout=_KEPT_TIMEOUT_S)
            taking.cancel()
            await asyncio.wait({taking})
        if not taking.cancelled():
            taking.result()

    async def _connect(self) -> ArqRedis:
        return await create_pool(
            _settings(self._url),
            job_serializer=_dump,
            job_deserializer=orjson.loads,
            default_queue_name=self._queue,
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.aclose()


async def _hear(channel: PubSub, heard: Callable[[], None]) -> None:
    """Call `heard` at every message.

    Raises:
        TimeoutError: Redis does not answer any more.
    """
    is_asked = False
    while True:
        message: dict[str, Any] | None = await channel.get_message(timeout=_SILENCE_S)
        if message is None and is_asked:
            raise TimeoutError
        is_asked = message is None
        if message is None:
            await channel.ping()
        elif message["type"] == "message":
            heard()


class Ringer:
    """Rings a bell from the side, so that no request waits for Redis."""

    def __init__(self, bell: Doorbell) -> None:
        self._bell = bell
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Have the bell rung at once; many askings before the next ring are one."""
        self._asked.set()

    async def run(self) -> None:
        """Ring until cancelled."""
        while not is_cancelled():
            await self._asked.wait()
            self._asked.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_RING_TIMEOUT_S):
                    await self._bell.ring()
            await asyncio.sleep(_BETWEEN_RINGS_S)


@asynccontextmanager
async def ringing(url: str, queue: str) -> AsyncGenerator[Ringer]:
    """Yield a ringer that runs for as long as the block."""
    bell = Doorbell(url, queue)
    ringer = Ringer(bell)
    running = asyncio.create_task(ringer.run(), name=f"ring {queue}")
    try:
        yield ringer
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await bell.close()
