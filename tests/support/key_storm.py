"""API keys are made and revoked at two gateways while everything is killed at random; the audit log must know of each.

with Storm(folder, seed=1) as storm:
    storm.rage(seconds=10)
    await storm.check()
"""

# asyncpg has no type stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from pathlib import Path

import asyncpg

from support.audit import verify
from support.gateway import GatewayUnderTest, running_gateway
from support.postgres import PostgresForTests
from support.redis import RedisForTests
from support.waiting import eventually
from tmws_shared.database import Database

# What is acknowledged must have been flushed: these servers are killed.
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
KEYS = "/api/v1/keys"


class Storm:
    """Two gateways, a PostgreSQL and a Redis of their own, and somebody who kills them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 -- no secret
        self._stack = ExitStack()
        self._postgres = PostgresForTests(folder, DURABLE)
        self._redis = RedisForTests(folder)
        self._folder = folder
        self._is_over = threading.Event()
        self.acknowledged: set[tuple[str, str]] = set()
        self.done: list[str] = []

    def __enter__(self) -> Storm:
        self._postgres.start()
        self._stack.callback(self._postgres.stop)
        self._redis.start()
        self._stack.callback(self._redis.stop)
        self._database = self._postgres.create_database()
        self._gateways = [self._open(name) for name in ("a", "b")]
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self, name: str) -> GatewayUnderTest:
        running = running_gateway(
            self._database,
            self._redis.url,
            self._folder / name,
            processes=("gateway",),
            rate_limit_requests="1000000",
        )
        return self._stack.enter_context(running)

    def rage(self, seconds: float) -> None:
        """Kill one part after another for so long, while keys are made and revoked."""
        faults = [*(self._kill_gateway(gateway) for gateway in self._gateways), self._kill_redis, self._kill_postgres]
        callers = [threading.Thread(target=self._change_keys, args=(gateway,)) for gateway in self._gateways]
        for caller in callers:
            caller.start()
        try:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                time.sleep(self._random.uniform(0.3, 1.0))
                self._random.choice(faults)()
        finally:
            self._is_over.set()
            for caller in callers:
                caller.join()

    def _kill_gateway(self, gateway: GatewayUnderTest) -> Callable[[], None]:
        def kill() -> None:
            self.done.append("gateway")
            gateway.kill("gateway")
            gateway.start("gateway")

        return kill

    def _kill_redis(self) -> None:
        self.done.append("redis")
        self._redis.kill()
        self._redis.start()

    def _kill_postgres(self) -> None:
        self.done.append("postgres")
        self._postgres.kill()
        time.sleep(self._random.uniform(0, 0.5))
        self._postgres.start()

    def _change_keys(self, gateway: GatewayUnderTest) -> None:
        number = 0
        while not self._is_over.is_set():
            number += 1
            try:
                self._make_and_revoke(gateway, f"{gateway.folder.name} {number}")
            except (OSError, HTTPException):
                time.sleep(0.02)

    def _make_and_revoke(self, gateway: GatewayUnderTest, name: str) -> None:
        made = gateway.ask("POST", KEYS, json={"name": name, "scopes": ["task:read"]})
        if made.status != 201:
            return
        path = f"{KEYS}/{made.json['id']}"
        self.acknowledged.add(("key.created", path))
        if gateway.ask("DELETE", path).status == 204:
            self.acknowledged.add(("key.revoked", path))

    async def check(self) -> None:
        """Find every acknowledged change in the chain, once, and the chain and both files of checkpoints intact."""
        for gateway in self._gateways:
            gateway.wait_for("/readyz")
        eventually(lambda: not any(gateway_spool(gateway) for gateway in self._gateways))
        for gateway in self._gateways:
            assert gateway.ask("GET", "/api/v1/audit?limit=1").status == 200
        counts = await self._key_records()
        assert set(counts.values()) == {1}
        assert self.acknowledged <= counts.keys()
        database = await Database.connect(self._database.for_service("gateway"), name="check")
        for gateway in self._gateways:
            found = await verify(database, gateway.folder)
            assert found.fault is None
            assert found.head >= len(self.acknowledged)
        await database.close()

    async def _key_records(self) -> dict[tuple[str, str], int]:
        connection = await asyncpg.connect(self._database.for_service("gateway"))
        rows = await connection.fetch(
            "SELECT action, resource, count(*) FROM audit_records WHERE action LIKE 'key.%' GROUP BY 1, 2"
        )
        await connection.close()
        return {(row["action"], row["resource"]): row["count"] for row in rows}


@contextmanager
def storm(seed: int) -> Generator[Storm]:
    """Start everything in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="tmws-") as name:
        folder = Path(name)
        # PostgreSQL may run under an account of its own.
        folder.chmod(0o755)
        with Storm(folder, seed) as raging:
            yield raging


def gateway_spool(gateway: GatewayUnderTest) -> list[Path]:
    """Return the files in which a gateway's audit events wait."""
    return list((gateway.folder / "audit").glob("*.ndjson"))
