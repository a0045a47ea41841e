"""The rate limit: GCRA (ITU-T I.371) in one Redis script, so that it is exact over any number of gateways."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from tmws_gateway.script import Script
from tmws_shared.problems import TooManyRequests
from tmws_shared.redis import OptionalRedis, RedisDown
from tmws_shared.telemetry import Counter

_log = logging.getLogger(__name__)

# KEYS[1] holds the theoretical arrival time in µs; ARGV: interval and tolerance in µs. Answers whether the request
# passes, and how far ahead of the clock the bucket is then. A bucket filled under a longer period counts as full.
GCRA = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
if tat > now + ARGV[2] then
  tat = now + ARGV[2]
  redis.call('SET', KEYS[1], string.format('%.0f', tat), 'PX', math.ceil(ARGV[2] / 1000))
end
local next = tat + tonumber(ARGV[1])
if next - now > tonumber(ARGV[2]) then return {0, string.format('%.0f', tat - now)} end
redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000))
return {1, string.format('%.0f', next - now)}
"""
# A pipeline this long still answers within Redis's 50 ms.
BATCH = 64
LOCAL_BUCKETS = 100_000
_PREFIX = "tmws:limit:"
_REFUSED = Counter("tmws_rate_limited_total", "Requests over the rate limit")
_FALLBACKS = Counter("tmws_rate_limit_fallback_total", "Requests counted in the process because Redis was down")


@dataclass(frozen=True, slots=True)
class Policy:
    """So many requests in a period, any of them at once."""

    requests: int
    period_s: int

    @property
    def interval_s(self) -> float:
        """Seconds after which another request is allowed."""
        return self.period_s / self.requests


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request passes; `ahead_s` is how long the bucket needs to be full again."""

    passes: bool
    ahead_s: float
    policy: Policy

    @property
    def remaining(self) -> int:
        """Requests that would pass now."""
        return max(0, math.floor((self.policy.period_s - self.ahead_s) / self.policy.interval_s + 1e-6))

    @property
    def retry_after_s(self) -> int:
        """Whole seconds until the next request passes."""
        return max(1, math.ceil(self.ahead_s + self.policy.interval_s - self.policy.period_s))

    def headers(self) -> dict[str, str]:
        """Return the fields of draft-ietf-httpapi-ratelimit-headers."""
        return {
            "RateLimit-Policy": f'"default";q={self.policy.requests};w={self.policy.period_s}',
            "RateLimit": f'"default";r={self.remaining};t={math.ceil(self.ahead_s)}',
        }


class LocalBuckets:
    """The same limit for what this process sees; it knows what Redis said last, and goes on from there without it."""

    def __init__(self, policy: Policy, clock: Callable[[], float] = monotonic) -> None:
        self._policy = policy
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, key: str) -> Verdict:
        """Take one request out of the bucket."""
        current = self._clock()
        full_at = max(self._full_at.get(key, 0.0), current)
        ahead_s = full_at + self._policy.interval_s - current
        # Without the slack, rounding would lose the last request of a burst.
        if ahead_s > self._policy.period_s + 1e-6:
            return Verdict(passes=False, ahead_s=full_at - current, policy=self._policy)
        self._note(key, current + ahead_s)
        return Verdict(passes=True, ahead_s=ahead_s, policy=self._policy)

    def learn(self, key: str, verdict: Verdict) -> None:
        """Take over what Redis says; what passed here while it was away is not forgotten."""
        full_at = self._clock() + verdict.ahead_s
        self._note(key, max(full_at, self._full_at.get(key, 0.0)) if verdict.passes else full_at)

    def _note(self, key: str, full_at: float) -> None:
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > LOCAL_BUCKETS:
            self._full_at.popitem(last=False)


class RateLimiter:
    """Counts requests by caller. Requests that come while Redis is asked go together in the next pipeline."""

    def __init__(self, redis: OptionalRedis, policy: Policy) -> None:
        self._redis = redis
        self._policy = policy
        self._local = LocalBuckets(policy)
        # Rounded down, or the last request of a burst would not fit.
        self._arguments = (str(int(policy.interval_s * 1e6)), str(policy.period_s * 1_000_000))
        self._waiting: list[tuple[str, asyncio.Future[Verdict | None]]] = []
        self._asking: asyncio.Task[None] | None = None
        self._script = Script(redis, GCRA)

    async def take(self, key: str) -> dict[str, str]:
        """Count one request and return the headers that tell what is left.

        Raises:
            TooManyRequests: the limit is reached.
        """
        verdict = await self._decide(key)
        if not verdict.passes:
            _REFUSED.inc()
            raise TooManyRequests(
                f"At most {self._policy.requests} requests in {self._policy.period_s} s.",
                retry_after_s=verdict.retry_after_s,
                headers=verdict.headers(),
            )
        return verdict.headers()

    async def _decide(self, key: str) -> Verdict:
        here = self._local.take(key)
        if not here.passes:
            return here
        if not self._redis.is_up:
            _FALLBACKS.inc()
            return here
        answer: asyncio.Future[Verdict | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, answer))
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_all())
        return await answer or here

    async def _ask_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            keys = [key for key, _ in batch]
            try:
                verdicts = await self._ask(keys)
            except RedisDown:
                _FALLBACKS.inc(len(keys))
                verdicts = [None] * len(keys)
            for (_, answer), verdict in zip(batch, verdicts, strict=True):
                if not answer.done():
                    answer.set_result(verdict)

    async def _ask(self, keys: Sequence[str]) -> list[Verdict]:
        answers = await self._script.call([(_PREFIX + key, *self._arguments) for key in keys])
        verdicts = [Verdict(bool(passes), int(ahead_us) / 1e6, self._policy) for passes, ahead_us in answers]
        for key, verdict in zip(keys, verdicts, strict=True):
            self._local.learn(key, verdict)
        return verdicts
