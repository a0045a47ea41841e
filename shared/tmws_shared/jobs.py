"""The doorbell: arq wakes workers early; Postgres alone knows what there is to do.

arq is in maintenance only, so it stays behind these two methods. A lost ring costs a poll interval, never work.
"""

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
from redis.exceptions import RedisError

from tmws_shared.cancellation import is_cancelled

_log = logging.getLogger(__name__)
_RETRY_S = 1.0
_RING_TIMEOUT_S = 1.0
_JOB = "ring"


def _settings(url: str) -> RedisSettings:
    settings = RedisSettings.from_dsn(url)
    settings.conn_timeout, settings.conn_retries = 1, 0
    return settings


def _dump(job: dict[str, Any]) -> bytes:
    return orjson.dumps(job)


class Doorbell:
    """Rings for the workers of one queue, and hears it within `poll_s` seconds: arq polls Redis that often."""

    def __init__(self, url: str, queue: str, *, poll_s: float = 0.05) -> None:
        self._url = url
        self._poll_s = poll_s
        self._queue = f"tmws:bell:{queue}"
        self._pool: ArqRedis | None = None

    async def ring(self) -> None:
        """Wake a worker; rings that nobody has heard yet count as one. Never fails."""
        if not self._url:
            return
        try:
            if self._pool is None:
                self._pool = await self._connect()
            await self._pool.enqueue_job(_JOB, _job_id=self._queue)
        except (RedisError, OSError, TimeoutError):
            _log.debug("the doorbell did not ring; workers poll")

    async def listen(self, heard: Callable[[], None]) -> None:
        """Call `heard` at every ring, until cancelled; comes back when Redis does."""
        while self._url and not is_cancelled():
            try:
                await self._work(heard)
            except (RedisError, OSError, TimeoutError):
                _log.debug("the doorbell is out of reach")
            await asyncio.sleep(_RETRY_S)

    async def _work(self, heard: Callable[[], None]) -> None:
        async def ring(ctx: dict[Any, Any]) -> None:
            heard()

        pool = await self._connect()
        worker = Worker(
            functions=[func(ring, name=_JOB, keep_result=0, max_tries=1)],
            queue_name=self._queue,
            redis_pool=pool,
            poll_delay=self._poll_s,
            keep_result=0,
            max_tries=1,
            handle_signals=False,
            job_serializer=_dump,
            job_deserializer=orjson.loads,
            health_check_interval=3600,
        )
        try:
            await worker.async_run()
        finally:
            # Not worker.close(): it warns of a method that redis-py has deprecated.
            await pool.aclose(close_connection_pool=True)

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


class Ringer:
    """Rings a bell from the side, so that no request waits for Redis."""

    def __init__(self, bell: Doorbell) -> None:
        self._bell = bell
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Have the bell rung soon; many askings before the next ring are one."""
        self._asked.set()

    async def run(self) -> None:
        """Ring until cancelled."""
        while not is_cancelled():
            await self._asked.wait()
            self._asked.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_RING_TIMEOUT_S):
                    await self._bell.ring()


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
