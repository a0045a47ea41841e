"""The rate limit: GCRA (ITU-T I.371) in one Redis script, so that it is exact over any number of gateways."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from time import monotonic
from typing import NamedTuple

from tmws_gateway.script import Call, Script
from tmws_shared.framing import HeaderList
from tmws_shared.problems import TooManyRequests
from tmws_shared.redis import OptionalRedis, RedisDown
from tmws_shared.telemetry import Counter

# KEYS hold theoretical arrival times in µs; ARGV: interval and tolerance of each in µs. All buckets give, or none does.
# Answers which one refuses (0: none), and how far each is ahead of the clock then. A bucket that was filled under a
# longer period counts as full.
GCRA = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local found = redis.call('MGET', unpack(KEYS))
local tats, refused = {}, 0
for i = 1, #KEYS do
  local interval, tolerance = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local tat = math.max(tonumber(found[i] or now), now)
  if tat > now + tolerance then
    tat = now + tolerance
    redis.call('SET', KEYS[i], string.format('%.0f', tat), 'PX', math.ceil(tolerance / 1000))
  end
  tats[i] = tat
  if refused == 0 and tat + interval - now > tolerance then refused = i end
end
local answer = tostring(refused)
for i = 1, #KEYS do
  if refused == 0 then
    tats[i] = tats[i] + tonumber(ARGV[2 * i - 1])
    redis.call('SET', KEYS[i], string.format('%.0f', tats[i]), 'PX', math.max(1, math.ceil((tats[i] - now) / 1000)))
  end
  answer = answer .. string.format(' %.0f', tats[i] - now)
end
return answer
"""
LOCAL_BUCKETS = 100_000
# All callers of a namespace together have this many times what one of them has.
CALLERS_OF_A_NAMESPACE = 10
# Batches, imports and exports cost more than others: a caller has this share of its requests for them.
SHARE_OF_BULK = 0.1
LEAST_BULK = 10
_PREFIX = "tmws:limit:"
_REFUSED = Counter("tmws_rate_limited_total", "Requests over the rate limit", ["policy"])
_FALLBACKS = Counter("tmws_rate_limit_fallback_total", "Requests counted in the process because Redis was down")


@dataclass(frozen=True)
class Policy:
    """So many requests in a period, any of them at once."""

    requests: int
    period_s: int
    name: str = "default"

    @cached_property
    def interval_s(self) -> float:
        """Seconds after which another request is allowed."""
        return self.period_s / self.requests

    @property
    def arguments(self) -> tuple[str, str]:
        """Interval and tolerance in µs; the interval rounded down, or the last request of a burst would not fit."""
        return str(int(self.interval_s * 1e6)), str(self.period_s * 1_000_000)

    @cached_property
    def label(self) -> bytes:
        """The name as the fields RateLimit and RateLimit-Policy have it."""
        return b'"%b"' % self.name.encode()

    def remaining(self, ahead_s: float) -> int:
        """Return how many requests would pass now, when the bucket needs `ahead_s` to be full again."""
        return max(0, int((self.period_s - ahead_s) * self.requests / self.period_s + 1e-6))


@dataclass(frozen=True, slots=True)
class Bucket:
    """What a request is counted in: who or what `key` names, under a policy."""

    key: str
    policy: Policy


class Buckets(tuple[Bucket, ...]):
    """What one request is counted in; made once a caller, so that what is sent and said of it is, too."""

    @cached_property
    def call(self) -> Call:
        """Keys and arguments of the script."""
        keys = tuple(bucket.key for bucket in self)
        return keys, tuple(text for bucket in self for text in bucket.policy.arguments)

    @cached_property
    def policies(self) -> tuple[bytes, bytes]:
        """The field RateLimit-Policy."""
        policies = (bucket.policy for bucket in self)
        told = (b"%b;q=%d;w=%d" % (policy.label, policy.requests, policy.period_s) for policy in policies)
        return b"ratelimit-policy", b", ".join(told)


class Verdict(NamedTuple):
    """What one bucket says; `ahead_s` is how long it needs to be full again."""

    passes: bool
    ahead_s: float
    policy: Policy

    @property
    def retry_after_s(self) -> int:
        """Whole seconds until the next request passes."""
        return max(1, math.ceil(self.ahead_s + self.policy.interval_s - self.policy.period_s))

    def header(self) -> tuple[bytes, bytes]:
        """Return the field RateLimit of draft-ietf-httpapi-ratelimit-headers."""
        policy, ahead_s = self.policy, self.ahead_s
        return b"ratelimit", b"%b;r=%d;t=%d" % (policy.label, policy.remaining(ahead_s), math.ceil(ahead_s))


def _pass(buckets: Buckets, ahead_s: Sequence[float]) -> Verdict:
    """The verdict of the tightest of buckets that give."""
    left = [bucket.policy.remaining(ahead) for bucket, ahead in zip(buckets, ahead_s, strict=True)]
    place = left.index(min(left))
    return Verdict(passes=True, ahead_s=ahead_s[place], policy=buckets[place].policy)


class Limits:
    """Which buckets a request is counted in: its caller's, its namespace's, and one more when it is bulk."""

    def __init__(self, caller: Policy) -> None:
        bulk = max(LEAST_BULK, int(caller.requests * SHARE_OF_BULK))
        self._caller = caller
        self._bulk = Policy(bulk, caller.period_s, "bulk")
        self._namespace = Policy(caller.requests * CALLERS_OF_A_NAMESPACE, caller.period_s, "namespace")
        self.buckets_of = lru_cache(4096)(self._buckets_of)

    def _buckets_of(self, caller: str, namespace: str | None, is_bulk: bool) -> Buckets:
        """Return the buckets; `namespace` is None for who has not signed in."""
        buckets = [Bucket(f"{_PREFIX}{caller}", self._caller)]
        if namespace is not None:
            buckets.append(Bucket(f"{_PREFIX}namespace {namespace}", self._namespace))
        if is_bulk:
            buckets.append(Bucket(f"{_PREFIX}bulk {caller}", self._bulk))
        return Buckets(buckets)


class LocalBuckets:
    """The same limit for what this process sees; it knows what Redis said last, and goes on from there without it."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, buckets: Buckets, gateways: int = 1) -> Verdict:
        """Take one request out of each bucket, or none, and return the verdict of the tightest one.

        Alone, each of several gateways gives its part.
        """
        return self.spend(buckets, gateways) or self.tightest(buckets)

    def spend(self, buckets: Buckets, gateways: int = 1) -> Verdict | None:
        """Take one request out of each bucket and return None, or the verdict of the one that refuses."""
        current = self._clock()
        filled: list[tuple[str, float]] = []
        for bucket in buckets:
            policy = bucket.policy
            full_at = max(self._full_at.get(bucket.key, 0.0), current)
            after = full_at + policy.interval_s * gateways
            # Without the slack, rounding would lose the last request of a burst.
            if after - current > policy.period_s + 1e-6:
                return Verdict(passes=False, ahead_s=full_at - current, policy=policy)
            filled.append((bucket.key, after))
        for key, after in filled:
            self._note(key, after)
        return None

    def tightest(self, buckets: Buckets) -> Verdict:
        """Return the verdict of the bucket that has the least left, of buckets that gave."""
        current = self._clock()
        return _pass(buckets, [max(0.0, self._full_at.get(bucket.key, 0.0) - current) for bucket in buckets])

    def learn(self, buckets: Buckets, aheads_s: Sequence[float], *, passes: bool) -> None:
        """Take over what Redis says; what passed here while it was away is not forgotten."""
        current = self._clock()
        for bucket, ahead_s in zip(buckets, aheads_s, strict=True):
            known = self._full_at.get(bucket.key, 0.0) if passes else 0.0
            self._note(bucket.key, max(current + ahead_s, known))

    def _note(self, key: str, full_at: float) -> None:
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > LOCAL_BUCKETS:
            self._full_at.popitem(last=False)


class RateLimiter:
    """Counts requests.

    `gateways` tells how many of us there are, so that each gives its part while Redis is away.
    """

    def __init__(self, redis: OptionalRedis, gateways: Callable[[], int] = lambda: 1) -> None:
        self._redis = redis
        self._gateways = gateways
        self._local = LocalBuckets()
        self._script = Script(redis, GCRA)

    async def prepare(self) -> None:
        """Make the first request as cheap as the others, if Redis is there."""
        with suppress(RedisDown):
            await self._script.prepare()

    async def close(self) -> None:
        """Close the connection."""
        await self._script.close()

    async def take(self, buckets: Buckets) -> HeaderList:
        """Count one request in each bucket, or in none, and return the headers that tell what is left.

        Raises:
            TooManyRequests: a limit is reached.
        """
        verdict = await self._decide(buckets)
        headers = [buckets.policies, verdict.header()]
        if not verdict.passes:
            policy = verdict.policy
            _REFUSED.labels(policy.name).inc()
            raise TooManyRequests(
                f"At most {policy.requests} requests in {policy.period_s} s (limit: {policy.name}).",
                retry_after_s=verdict.retry_after_s,
                headers={name.decode(): value.decode() for name, value in headers},
            )
        return headers

    async def _decide(self, buckets: Buckets) -> Verdict:
        if not self._redis.is_up:
            _FALLBACKS.inc()
            return self._local.take(buckets, self._gateways())
        refusal = self._local.spend(buckets)
        if refusal is not None:
            return refusal
        try:
            answer = await self._script.call(buckets.call)
        except RedisDown:
            _FALLBACKS.inc()
            return self._local.tightest(buckets)
        return self._read(buckets, answer)

    def _read(self, buckets: Buckets, answer: bytes) -> Verdict:
        """The verdict of the bucket that refuses, else of the tightest one."""
        refused, *ahead_us = map(int, answer.split())
        aheads_s = [us / 1e6 for us in ahead_us]
        self._local.learn(buckets, aheads_s, passes=not refused)
        if refused:
            return Verdict(passes=False, ahead_s=aheads_s[refused - 1], policy=buckets[refused - 1].policy)
        return _pass(buckets, aheads_s)
