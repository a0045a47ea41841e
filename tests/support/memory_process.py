"""The memory service as a process of its own, to be killed in the middle of what it does.

with MemoryProcess(database, folder) as memory:
    async with memory.importing(pieces, "?import_id=x") as lines:
        async for line in lines: ...
    memory.kill()
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.postgres import DatabaseUrls
from support.service import SECRET
from tmws_contracts.scopes import SCOPES
from tmws_shared.auth import InternalTokens, Principal
from tmws_shared.framing import Request
from tmws_shared.upstream import Upstream

START_TIMEOUT_S = 60.0
IDLE_TIMEOUT_S = 30.0


class MemoryProcess:
    """A running memory service without an embedding service."""

    def __init__(self, database: DatabaseUrls, folder: Path) -> None:
        self._socket = folder / "m.sock"
        self._log = folder / "memory.log"
        self._environment = {
            "PATH": os.environ["PATH"],
            "TMWS_SECRET_KEY": SECRET,
            "TMWS_DATA_DIR": str(folder),
            "TMWS_DATABASE_URL": database.for_service("memory"),
            "TMWS_LISTEN": f"unix://{self._socket}",
            "TMWS_EMBEDDING_URL": f"unix://{folder}/nobody.sock",
        }
        self._process = self._start()

    def __enter__(self) -> MemoryProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def restart(self) -> None:
        """Start it again."""
        self._process = self._start()

    @property
    def resident_mb(self) -> float:
        """The memory that it takes."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    @asynccontextmanager
    async def asking(
        self, method: str, path: str, body: AsyncIterator[bytes] | None = None, namespace: str = "default"
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Yield the pieces of an answer as they come."""
        token = InternalTokens(SECRET).mint(Principal("tester", namespace, SCOPES), "memory", method)
        upstream = Upstream(f"unix://{self._socket}")
        reply = await upstream.ask(
            Request(method, path.encode(), [(b"authorization", f"Bearer {token}".encode())], body), IDLE_TIMEOUT_S
        )
        assert reply.status == 200
        try:
            yield reply.pieces(IDLE_TIMEOUT_S)
        finally:
            await reply.close()
            await upstream.close()

    @asynccontextmanager
    async def importing(
        self, body: AsyncIterator[bytes], query: str = "", namespace: str = "default"
    ) -> AsyncGenerator[AsyncIterator[dict[str, Any]]]:
        """Yield the lines of an import's answer as they come."""
        async with self.asking("POST", f"/api/v1/memory/import{query}", body, namespace) as pieces:
            yield _lines(pieces)

    def _start(self) -> subprocess.Popen[bytes]:
        self._socket.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tmws_memory.app"], env=self._environment, stdin=subprocess.DEVNULL, stderr=log
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the memory service did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.02)
        return process


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    rest = b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield json.loads(line)
