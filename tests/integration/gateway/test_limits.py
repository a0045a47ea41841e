"""The rate limit in a real Redis, and without it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.gateway import running_gateway
from support.postgres import PostgresForTests
from support.redis import RedisForTests
from tmws_gateway.limits import Policy, RateLimiter
from tmws_shared.problems import TooManyRequests
from tmws_shared.redis import OptionalRedis

# One more request an hour-hundredth: none during a test.
POLICY = Policy(requests=100, period_s=3600)


async def passes(limiter: RateLimiter, key: str = "k") -> bool:
    try:
        await limiter.take(key)
    except TooManyRequests:
        return False
    return True


async def count_passes(*limiters: RateLimiter, times: int) -> int:
    answers = await asyncio.gather(*(passes(limiters[n % len(limiters)]) for n in range(times)))
    return sum(answers)


async def test_of_800_at_once_exactly_100_pass(redis: OptionalRedis) -> None:
    assert await count_passes(RateLimiter(redis, POLICY), times=800) == 100


async def test_limit_is_exact_over_four_gateways(empty_redis_url: str) -> None:
    redises = [OptionalRedis.at(empty_redis_url) for _ in range(4)]
    limiters = [RateLimiter(redis, POLICY) for redis in redises]
    assert await count_passes(*limiters, times=800) == 100
    await asyncio.gather(*(redis.close() for redis in redises))


async def test_callers_have_a_bucket_each(redis: OptionalRedis) -> None:
    limiter = RateLimiter(redis, Policy(requests=1, period_s=3600))
    assert [await passes(limiter, key) for key in ("a", "b", "a")] == [True, True, False]


async def test_headers_count_down(redis: OptionalRedis) -> None:
    limiter = RateLimiter(redis, POLICY)
    headers = [await limiter.take("k") for _ in range(2)]
    assert [header["RateLimit"].partition(";t")[0] for header in headers] == ['"default";r=99', '"default";r=98']


async def test_refusal_tells_when_to_come_back(redis: OptionalRedis) -> None:
    limiter = RateLimiter(redis, Policy(requests=1, period_s=3600))
    await limiter.take("k")
    with pytest.raises(TooManyRequests) as caught:
        await limiter.take("k")
    assert 3590 <= int(caught.value.headers["Retry-After"]) <= 3600


async def test_without_redis_the_process_counts() -> None:
    assert await count_passes(RateLimiter(OptionalRedis.at(""), POLICY), times=300) == 100


async def test_count_goes_on_when_redis_hangs(redis: OptionalRedis, redis_server: RedisForTests) -> None:
    limiter = RateLimiter(redis, POLICY)
    assert await count_passes(limiter, times=60) == 60
    redis_server.pause()
    assert await count_passes(limiter, times=100) == 40
    redis_server.resume()


async def test_script_is_loaded_again_when_redis_forgot_it(redis: OptionalRedis) -> None:
    limiter = RateLimiter(redis, POLICY)
    await limiter.take("k")
    await redis.require().script_flush()
    assert '"default";r=98' in (await limiter.take("k"))["RateLimit"]


async def test_count_goes_on_in_a_redis_that_was_restarted(redis: OptionalRedis, redis_server: RedisForTests) -> None:
    limiter = RateLimiter(redis, POLICY)
    await limiter.take("k")
    redis_server.stop()
    redis_server.start()
    await limiter.take("k")
    assert '"default";r=97' in (await RateLimiter(redis, POLICY).take("k"))["RateLimit"]


def test_gateway_lets_exactly_the_limit_pass(postgres: PostgresForTests, redis_url: str, short_directory: Path) -> None:
    own_redis = redis_url.replace("db=0", "db=9")
    limits = {"rate_limit_requests": "100", "rate_limit_period": "3600"}
    database, folder = postgres.create_database(), short_directory / "limited"
    with running_gateway(database, own_redis, folder, processes=["gateway"], **limits) as gateway:
        with ThreadPoolExecutor(32) as pool:
            statuses = list(pool.map(lambda _: gateway.ask("GET", "/api/v1/stats").status, range(300)))
        health = gateway.ask("GET", "/livez")
        refused = gateway.ask("GET", "/nope")
    assert (statuses.count(200), statuses.count(429)) == (100, 200)
    assert health.status == 200
    assert refused.status == 429
    assert refused.headers["ratelimit-policy"] == '"default";q=100;w=3600'


async def test_shorter_period_frees_who_was_full_under_a_longer_one(redis: OptionalRedis) -> None:
    await count_passes(RateLimiter(redis, POLICY), times=100)
    limiter = RateLimiter(redis, Policy(requests=100, period_s=1))
    await asyncio.sleep(0.1)
    assert not await passes(limiter)
    await asyncio.sleep(0.1)
    assert await passes(limiter)
