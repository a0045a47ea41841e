"""The rate limit in a real Redis, and without it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from support.gateway import fresh_address, running_gateway
from support.postgres import PostgresForTests
from support.redis import RedisForTests
from tmws_gateway.gateways import Gateways
from tmws_gateway.limits import Bucket, Buckets, Policy, RateLimiter
from tmws_shared.problems import TooManyRequests
from tmws_shared.redis import OPERATION_TIMEOUT_S, OptionalRedis, RedisDown

# One more request an hour-hundredth: none during a test.
POLICY = Policy(requests=100, period_s=3600)


_opened: list[RateLimiter] = []


def limiter_of(redis: OptionalRedis, gateways: Callable[[], int] = lambda: 1) -> RateLimiter:
    """Return a limiter that is closed after the test."""
    _opened.append(RateLimiter(redis, gateways))
    return _opened[-1]


@pytest.fixture(autouse=True)
async def closed_limiters() -> AsyncGenerator[None]:
    yield
    while _opened:
        await _opened.pop().close()


def bucket(policy: Policy = POLICY, key: str = "k") -> Buckets:
    return Buckets([Bucket(f"tmws:limit:{key}", policy)])


async def passes(limiter: RateLimiter, buckets: Buckets = bucket()) -> bool:  # noqa: B008 -- frozen
    try:
        await limiter.take(buckets)
    except TooManyRequests:
        return False
    return True


async def count_passes(*limiters: RateLimiter, times: int) -> int:
    answers = await asyncio.gather(*(passes(limiters[n % len(limiters)]) for n in range(times)))
    return sum(answers)


async def test_of_800_at_once_exactly_100_pass(redis: OptionalRedis) -> None:
    assert await count_passes(limiter_of(redis), times=800) == 100


async def test_limit_is_exact_over_four_gateways(empty_redis_url: str) -> None:
    redises = [OptionalRedis.at(empty_redis_url) for _ in range(4)]
    limiters = [limiter_of(redis) for redis in redises]
    assert await count_passes(*limiters, times=800) == 100
    await asyncio.gather(*(redis.close() for redis in redises))


async def test_callers_have_a_bucket_each(redis: OptionalRedis) -> None:
    limiter, policy = limiter_of(redis), Policy(requests=1, period_s=3600)
    assert [await passes(limiter, bucket(policy, key)) for key in ("a", "b", "a")] == [True, True, False]


async def test_headers_count_down(redis: OptionalRedis) -> None:
    limiter = limiter_of(redis)
    headers = [dict(await limiter.take(bucket())) for _ in range(2)]
    assert [header[b"ratelimit"].partition(b";t")[0] for header in headers] == [b'"default";r=99', b'"default";r=98']


async def test_refusal_tells_when_to_come_back(redis: OptionalRedis) -> None:
    limiter, once = limiter_of(redis), bucket(Policy(requests=1, period_s=3600))
    await limiter.take(once)
    with pytest.raises(TooManyRequests) as caught:
        await limiter.take(once)
    assert 3590 <= int(caught.value.headers["Retry-After"]) <= 3600


async def test_without_redis_the_process_counts() -> None:
    assert await count_passes(limiter_of(OptionalRedis.at("")), times=300) == 100


async def test_count_goes_on_when_redis_hangs(redis: OptionalRedis, redis_server: RedisForTests) -> None:
    limiter = limiter_of(redis)
    assert await count_passes(limiter, times=60) == 60
    redis_server.pause()
    assert await count_passes(limiter, times=100) == 40
    redis_server.resume()


async def test_script_is_loaded_again_when_redis_forgot_it(redis: OptionalRedis) -> None:
    limiter = limiter_of(redis)
    await limiter.take(bucket())
    await redis.require().script_flush()
    assert b'"default";r=98' in dict(await limiter.take(bucket()))[b"ratelimit"]


async def test_count_goes_on_in_a_redis_that_was_restarted(redis: OptionalRedis, redis_server: RedisForTests) -> None:
    limiter = limiter_of(redis)
    await limiter.take(bucket())
    redis_server.stop()
    redis_server.start()
    await limiter.take(bucket())
    assert b'"default";r=97' in dict(await limiter_of(redis).take(bucket()))[b"ratelimit"]


def test_gateway_lets_exactly_the_limit_pass(postgres: PostgresForTests, redis_url: str, short_directory: Path) -> None:
    source = fresh_address()
    limits = {"rate_limit_requests": "100", "rate_limit_period": "3600"}
    database, folder = postgres.create_database(), short_directory / "limited"
    with running_gateway(database, redis_url, folder, processes=["gateway"], **limits) as gateway:
        with ThreadPoolExecutor(32) as pool:
            statuses = list(pool.map(lambda _: gateway.ask("GET", "/api/v1/stats", source=source).status, range(300)))
        health = gateway.ask("GET", "/livez", source=source)
        refused = gateway.ask("GET", "/nope", source=source)
    assert (statuses.count(200), statuses.count(429)) == (100, 200)
    assert health.status == 200
    assert refused.status == 429
    assert refused.headers["ratelimit-policy"] == '"default";q=100;w=3600'


async def test_shorter_period_frees_who_was_full_under_a_longer_one(redis: OptionalRedis) -> None:
    await count_passes(limiter_of(redis), times=100)
    limiter, short = limiter_of(redis), bucket(Policy(requests=100, period_s=1))
    await asyncio.sleep(0.1)
    assert not await passes(limiter, short)
    await asyncio.sleep(0.1)
    assert await passes(limiter, short)


async def test_bucket_that_refuses_takes_nothing_from_the_others(empty_redis_url: str) -> None:
    wide, narrow = Bucket("tmws:limit:w", Policy(10, 3600, "wide")), Bucket("tmws:limit:n", Policy(4, 3600, "narrow"))
    redises = [OptionalRedis.at(empty_redis_url) for _ in range(2)]
    one, other = (limiter_of(redis) for redis in redises)
    assert sum([await passes(one, Buckets([wide, narrow])) for _ in range(6)]) == 4
    # What the other one knows is what Redis says.
    assert sum([await passes(other, Buckets([wide, narrow])) for _ in range(6)]) == 0
    assert sum([await passes(other, Buckets([wide])) for _ in range(10)]) == 6
    await asyncio.gather(*(redis.close() for redis in redises))


async def test_headers_tell_every_policy_and_the_tightest_bucket(redis: OptionalRedis) -> None:
    buckets = Buckets([Bucket("tmws:limit:w", Policy(10, 3600)), Bucket("tmws:limit:n", Policy(4, 3600, "narrow"))])
    headers = await limiter_of(redis).take(buckets)
    assert headers == [
        (b"ratelimit-policy", b'"default";q=10;w=3600, "narrow";q=4;w=3600'),
        (b"ratelimit", b'"narrow";r=3;t=900'),
    ]


async def test_no_request_waits_for_the_end_of_an_outage(redis: OptionalRedis, redis_server: RedisForTests) -> None:
    limiter = limiter_of(redis)
    await limiter.take(bucket(Policy(1_000, 3600)))

    async def take(number: int) -> None:
        await asyncio.sleep(number / 1000)
        await limiter.take(bucket(Policy(1_000, 3600)))

    redis_server.pause()
    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*(take(number) for number in range(400)))
        # Only the first ones waited: from then on nobody asks.
        assert not redis.is_up
    finally:
        redis_server.resume()
    assert OPERATION_TIMEOUT_S <= 0.05


async def test_gateways_count_each_other(empty_redis_url: str) -> None:
    redises = [OptionalRedis.at(empty_redis_url) for _ in range(4)]
    gateways = [Gateways(redis) for redis in redises]
    for _ in range(2):
        await asyncio.gather(*(gateway.tell() for gateway in gateways))
    assert [gateway.count() for gateway in gateways] == [4] * 4
    await gateways[3].leave()
    await gateways[0].tell()
    assert gateways[0].count() == 3
    await asyncio.gather(*(redis.close() for redis in redises))


async def test_without_redis_each_of_four_gateways_gives_a_quarter(
    empty_redis_url: str, redis_server: RedisForTests
) -> None:
    redises = [OptionalRedis.at(empty_redis_url) for _ in range(4)]
    gateways = [Gateways(redis) for redis in redises]
    for _ in range(2):
        await asyncio.gather(*(gateway.tell() for gateway in gateways))
    redis_server.pause()
    for redis in redises:
        while redis.is_up:
            with suppress(RedisDown):
                await redis.ask(redis.require().echo("x"))
    limiters = [limiter_of(redis, gateway.count) for redis, gateway in zip(redises, gateways, strict=True)]
    passed = await count_passes(*limiters, times=400)
    redis_server.resume()
    await asyncio.gather(*(redis.close() for redis in redises))
    assert passed == 100


@pytest.mark.long
def test_limit_is_exact_over_four_gateway_processes(
    postgres: PostgresForTests, redis_url: str, short_directory: Path
) -> None:
    source, database = fresh_address(), postgres.create_database()
    limits = {"rate_limit_requests": "100", "rate_limit_period": "3600"}
    with ExitStack() as stack:
        gateways = [
            stack.enter_context(
                running_gateway(database, redis_url, short_directory / f"four{number}", processes=["gateway"], **limits)
            )
            for number in range(4)
        ]
        with ThreadPoolExecutor(16) as pool:
            asked = [
                pool.submit(gateways[number % 4].ask, "GET", "/api/v1/stats", source=source) for number in range(400)
            ]
            statuses = [one.result().status for one in asked]
    assert (statuses.count(200), statuses.count(429)) == (100, 300)
