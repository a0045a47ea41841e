"""How the parts of the system are, and what the services count."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from time import monotonic, perf_counter
from typing import Any

import orjson

from tmws_contracts.gateway import Health, ServiceHealth, ServiceState
from tmws_shared.auth import Principal
from tmws_shared.database import Database
from tmws_shared.framing import Request
from tmws_shared.http import ServiceClient
from tmws_shared.problems import ProblemError, Unavailable
from tmws_shared.redis import OptionalRedis, RedisDown
from tmws_shared.reply import UpstreamError
from tmws_shared.upstream import Upstream

CHECK_TIMEOUT_S = 2.0
# Many who ask at once must not become many questions to every service.
REUSE_S = 0.5
STATS_TIMEOUT_S = 5.0
MAX_READY_BYTES = 16 * 1024
VERSION = version("tmws-gateway")
# Does its part's check, and returns the version it runs when it says so.
Probe = Callable[[], Awaitable[str | None]]


@dataclass(slots=True)
class SystemHealth:
    """Asks every part; Redis may be down or absent without the system being unhealthy."""

    upstreams: Mapping[str, Upstream]
    database: Database
    redis: OptionalRedis
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _latest: tuple[float, Health] | None = field(default=None, init=False)

    async def report(self) -> Health:
        """Return how every part is, at most half a second old."""
        async with self._lock:
            if self._latest is None or monotonic() - self._latest[0] > REUSE_S:
                self._latest = (monotonic(), await self._ask_all())
            return self._latest[1]

    async def _ask_all(self) -> Health:
        probes: dict[str, Probe] = {name: self._probe_of(client) for name, client in self.upstreams.items()}
        probes |= {"postgres": self._ask_postgres, "redis": self._ping}
        answers = await asyncio.gather(*(_measure(probe) for probe in probes.values()))
        services = dict(zip(probes, answers, strict=True))
        services["gateway"] = ServiceHealth(state=ServiceState.HEALTHY, latency_ms=0.0, version=VERSION)
        if self.redis.client is None:
            services["redis"] = ServiceHealth(state=ServiceState.DISABLED, latency_ms=None, version=None)
        return Health(status=_overall(services), services=services)

    def _probe_of(self, client: Upstream) -> Probe:
        async def probe() -> str | None:
            try:
                reply, body = await client.fetch(Request("GET", b"/readyz"), CHECK_TIMEOUT_S, MAX_READY_BYTES)
            except UpstreamError as error:
                raise Unavailable from error
            if reply.status != 200:
                raise Unavailable
            return orjson.loads(body).get("version")

        return probe

    async def _ask_postgres(self) -> str:
        return str(await self.database.fetchval("SHOW server_version")).partition(" ")[0]

    async def _ping(self) -> str | None:
        client = self.redis.require()
        await self.redis.ask(client.ping())  # pyright: ignore[reportUnknownMemberType] -- redis-py's kwargs are untyped
        return None


async def _measure(probe: Probe) -> ServiceHealth:
    started = perf_counter()
    try:
        runs = await asyncio.wait_for(probe(), CHECK_TIMEOUT_S)
    except (ProblemError, RedisDown, TimeoutError):
        return ServiceHealth(state=ServiceState.DOWN, latency_ms=None, version=None)
    latency_ms = round((perf_counter() - started) * 1000, 3)
    return ServiceHealth(state=ServiceState.HEALTHY, latency_ms=latency_ms, version=runs)


def _overall(services: Mapping[str, ServiceHealth]) -> str:
    down = {name for name, service in services.items() if service.state is ServiceState.DOWN}
    if down - {"redis"}:
        return "unhealthy"
    return "degraded" if down else "healthy"


async def ask_stats(clients: Mapping[str, ServiceClient], caller: Principal) -> dict[str, dict[str, Any] | None]:
    """Return what each service counts for the caller; None from one that is down or refuses."""
    answers = await asyncio.gather(*(_ask(client, caller) for client in clients.values()))
    return dict(zip(clients, answers, strict=True))


async def _ask(client: ServiceClient, caller: Principal) -> dict[str, Any] | None:
    try:
        return (await client.call("GET", "/stats", caller, timeout_s=STATS_TIMEOUT_S)).json()
    except ProblemError:
        return None
