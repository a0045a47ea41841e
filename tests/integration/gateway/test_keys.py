"""API keys and their tokens: what was verified, how long that is known, and how other gateways hear of a change."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import pytest
from redis.asyncio import Redis

from support.postgres import DatabaseUrls
from support.service import settings_for
from tmws_contracts.gateway import IssuedApiKey, KeyRotation, NewApiKey, TokenRequest
from tmws_gateway.errors import KeyNotUsable, MissingGrant, NotYourToken
from tmws_gateway.identity.api_keys import KeyText, make_key, parse_key
from tmws_gateway.identity.authenticator import Credentials, Identity
from tmws_gateway.identity.changes import CHANNEL
from tmws_gateway.identity.failures import DELAY_S, MAX_BY_ADDRESS, MAX_BY_KEY
from tmws_gateway.keys import OPERATOR
from tmws_gateway.settings import SERVICES, GatewaySettings
from tmws_gateway.sign_in import SignIn
from tmws_shared.auth import Principal
from tmws_shared.background import running
from tmws_shared.database import Connection, Database
from tmws_shared.problems import PreconditionFailed, TooManyRequests, Unauthenticated, Unavailable
from tmws_shared.redis import OptionalRedis

HERE = "192.0.2.1"
GRACE_S = 60
URLS = {f"{name}_url": "unix:///nowhere.sock" for name in SERVICES}
Open = Callable[..., Awaitable[SignIn]]


@pytest.fixture
async def open_gateway(urls: DatabaseUrls, database: Database, empty_redis_url: str) -> AsyncGenerator[Open]:
    """Opens what one gateway knows of signing in; each call is another gateway."""
    opened: list[SignIn] = []
    # Another fixture's gateway may listen to the same server.
    others = await listeners(empty_redis_url)
    async with AsyncExitStack() as stack:

        async def open_one(redis_url: str = empty_redis_url) -> SignIn:
            redis = OptionalRedis.at(redis_url)
            stack.push_async_callback(redis.close)
            sign_in = SignIn.of(settings_for(GatewaySettings, "gateway", urls, redis_url, **URLS), database, redis)
            stack.push_async_callback(sign_in.close)
            await stack.enter_async_context(running(sign_in.loops()))
            if redis_url:
                opened.append(sign_in)
                await until_heard_by(redis.require(), others + len(opened))
            return sign_in

        yield open_one


async def listeners(redis_url: str) -> int:
    async with Redis.from_url(redis_url) as redis:
        return dict(await redis.pubsub_numsub(CHANNEL))[CHANNEL.encode()]


async def until_heard_by(redis: Redis, gateways: int) -> None:
    async with asyncio.timeout(5):
        while dict(await redis.pubsub_numsub(CHANNEL)) != {CHANNEL.encode(): gateways}:
            await asyncio.sleep(0.01)


async def new_key(gateway: SignIn, name: str = "agent") -> IssuedApiKey:
    wanted = NewApiKey(name=name, scopes=["task:read", "task:write"])
    return await gateway.keys.create(OPERATOR, wanted, HERE)


async def new_token(gateway: SignIn, key: IssuedApiKey) -> str:
    return gateway.tokens.issue(await identify(gateway, key.key), TokenRequest()).access_token


async def rotate(gateway: SignIn, key: IssuedApiKey, grace_s: int = 0) -> IssuedApiKey:
    return await gateway.keys.rotate(OPERATOR, key.id, KeyRotation(grace_seconds=grace_s), None, HERE)


async def identify(gateway: SignIn, credential: str, address: str = HERE) -> Identity:
    return await gateway.authenticator.identify(f"Bearer {credential}", address)


async def is_refused(gateway: SignIn, credential: str) -> bool:
    with suppress(Unauthenticated):
        await identify(gateway, credential)
        return False
    return True


async def until_refused(gateway: SignIn, credential: str) -> None:
    """Whatever ends a credential reaches every gateway within a second."""
    async with asyncio.timeout(1):
        while not await is_refused(gateway, credential):
            await asyncio.sleep(0.01)


def wrong_secret(key: IssuedApiKey) -> str:
    return str(KeyText(key.id, "A" * 43))


async def test_unknown_credential_is_503_while_postgres_is_away(open_gateway: Open, database: Database) -> None:
    gateway = await open_gateway()
    await database.close()
    with pytest.raises(Unavailable):
        await identify(gateway, str(make_key()))


async def test_verified_credential_is_known_while_postgres_is_away(open_gateway: Open, database: Database) -> None:
    gateway = await open_gateway()
    key = await new_key(gateway)
    known = await identify(gateway, key.key)
    await database.close()
    assert await identify(gateway, key.key) is known


async def test_signature_of_a_token_is_checked_once(open_gateway: Open) -> None:
    gateway = await open_gateway()
    token = await new_token(gateway, await new_key(gateway))
    known = await identify(gateway, token)
    assert await identify(gateway, token) is known


async def test_revoked_key_and_its_tokens_end_at_every_gateway_within_a_second(open_gateway: Open) -> None:
    here, there = await open_gateway(), await open_gateway()
    key = await new_key(here)
    token = await new_token(here, key)
    for credential in (key.key, token):
        await identify(there, credential)
    await here.keys.revoke(OPERATOR, key.id, None, HERE)
    assert await is_refused(here, key.key)
    assert await is_refused(here, token)
    await until_refused(there, key.key)
    await until_refused(there, token)


async def test_rotated_secret_and_its_tokens_end_at_every_gateway_within_a_second(open_gateway: Open) -> None:
    here, there = await open_gateway(), await open_gateway()
    key = await new_key(here)
    token = await new_token(here, key)
    for credential in (key.key, token):
        await identify(there, credential)
    rotated = await rotate(here, key)
    assert (rotated.id, rotated.version) == (key.id, 2)
    await until_refused(there, key.key)
    await until_refused(there, token)
    assert (await identify(there, rotated.key)).key_version == 2


async def test_secret_before_works_for_its_time_of_grace(open_gateway: Open, database: Database) -> None:
    gateway = await open_gateway()
    key = await new_key(gateway)
    token = await new_token(gateway, key)
    rotated = await rotate(gateway, key, GRACE_S)
    for credential in (key.key, token, rotated.key):
        assert not await is_refused(gateway, credential)
    late = await new_token(gateway, key)
    await database.execute("UPDATE api_keys SET previous_until = now() - interval '1 second'")
    other = await open_gateway()
    for credential in (key.key, token, late):
        assert await is_refused(other, credential)
    assert not await is_refused(other, rotated.key)


async def test_credential_in_grace_is_not_known_for_longer(open_gateway: Open) -> None:
    gateway = await open_gateway()
    key = await new_key(gateway)
    rotated = await rotate(gateway, key, GRACE_S)
    assert rotated.previous_until is not None
    for credential in (key.key, await new_token(gateway, key)):
        assert (await identify(gateway, credential)).expires_at == rotated.previous_until.timestamp()


async def test_second_rotation_ends_the_grace_of_the_first(open_gateway: Open) -> None:
    gateway = await open_gateway()
    first = await new_key(gateway)
    second = await rotate(gateway, first, GRACE_S)
    await rotate(gateway, second, GRACE_S)
    assert await is_refused(gateway, first.key)
    assert not await is_refused(gateway, second.key)


async def test_key_is_rotated_once_of_two_who_saw_the_same_version(open_gateway: Open) -> None:
    gateway = await open_gateway()
    key = await new_key(gateway)
    attempts = (gateway.keys.rotate(OPERATOR, key.id, KeyRotation(), '"1"', HERE) for _ in range(2))
    done = await asyncio.gather(*attempts, return_exceptions=True)
    assert sorted(type(one).__name__ for one in done) == ["IssuedApiKey", PreconditionFailed.__name__]


async def test_revoked_key_is_not_rotated(open_gateway: Open) -> None:
    gateway = await open_gateway()
    key = await new_key(gateway)
    await gateway.keys.revoke(OPERATOR, key.id, None, HERE)
    with pytest.raises(KeyNotUsable):
        await rotate(gateway, key)


async def test_nobody_rotates_a_key_with_more_rights_than_theirs(open_gateway: Open) -> None:
    gateway = await open_gateway()
    key = await new_key(gateway)
    manager = Principal("manager", scopes=frozenset({"keys:admin", "task:read"}))
    with pytest.raises(MissingGrant):
        await gateway.keys.rotate(manager, key.id, KeyRotation(), None, HERE)


async def test_revoked_token_ends_at_every_gateway_and_others_of_its_key_do_not(open_gateway: Open) -> None:
    here, there = await open_gateway(), await open_gateway()
    key = await new_key(here)
    token, other = await new_token(here, key), await new_token(here, key)
    for credential in (token, other):
        await identify(there, credential)
    await here.tokens.revoke((await identify(here, key.key)).principal, token, HERE)
    await until_refused(there, token)
    assert not await is_refused(there, other)
    assert await is_refused(await open_gateway(), token)


async def test_token_of_somebody_else_is_not_revoked(open_gateway: Open) -> None:
    gateway = await open_gateway()
    token = await new_token(gateway, await new_key(gateway))
    stranger = (await identify(gateway, (await new_key(gateway, "stranger")).key)).principal
    with pytest.raises(NotYourToken):
        await gateway.tokens.revoke(stranger, token, HERE)
    assert not await is_refused(gateway, token)


async def test_ended_revocations_are_forgotten_and_others_are_not(open_gateway: Open, database: Database) -> None:
    gateway = await open_gateway()
    token = await new_token(gateway, await new_key(gateway))
    await gateway.tokens.revoke(OPERATOR, token, HERE)
    await gateway.tokens.forget_ended()
    assert await database.fetchval("SELECT count(*) FROM revoked_tokens") == 1
    await database.execute("UPDATE revoked_tokens SET expires_at = now()")
    await gateway.tokens.forget_ended()
    assert await database.fetchval("SELECT count(*) FROM revoked_tokens") == 0


async def test_key_revoked_while_it_is_verified_is_not_known_afterwards(open_gateway: Open, database: Database) -> None:
    gateway = await open_gateway()
    key = await new_key(gateway)
    async with database.transaction() as connection:
        await connection.execute("LOCK TABLE api_keys")
        verifying = asyncio.create_task(identify(gateway, key.key))
        await until_waiting(connection)
        gateway.authenticator.forget(f"key {key.id}")
    await verifying
    await database.execute("UPDATE api_keys SET revoked_at = now()")
    assert await is_refused(gateway, key.key)


async def until_waiting(connection: Connection) -> None:
    waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'api_keys'::regclass)"
    async with asyncio.timeout(5):
        while not await connection.fetchval(waits):
            await asyncio.sleep(0.01)


async def test_open_answer_ends_with_its_key(open_gateway: Open) -> None:
    here, there = await open_gateway(), await open_gateway()
    key = await new_key(here)
    identity = await identify(there, key.key)
    credentials = Credentials(there.authenticator, f"Bearer {key.key}", HERE, identity.expires_at)
    assert await credentials.hold()
    await here.keys.revoke(OPERATOR, key.id, None, HERE)
    async with asyncio.timeout(1):
        while await credentials.hold():
            await asyncio.sleep(0.01)


async def test_command_line_is_heard_by_the_gateways(
    open_gateway: Open, urls: DatabaseUrls, empty_redis_url: str
) -> None:
    gateway = await open_gateway()
    key = await new_key(gateway)
    await identify(gateway, key.key)
    settings = settings_for(GatewaySettings, "gateway", urls, empty_redis_url, **URLS)
    environment = {
        "TMWS_SECRET_KEY": settings.secret_key.get_secret_value(),
        "TMWS_DATABASE_URL": settings.database_url.get_secret_value(),
        "TMWS_REDIS_URL": empty_redis_url,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tmws_gateway.keys", "rotate", key.id, env=environment, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    await until_refused(gateway, key.key)
    assert not await is_refused(gateway, printed.decode().strip())


async def test_without_redis_the_gateway_that_revokes_forgets_at_once(open_gateway: Open) -> None:
    gateway = await open_gateway("")
    key = await new_key(gateway)
    await identify(gateway, key.key)
    await gateway.keys.revoke(OPERATOR, key.id, None, HERE)
    assert await is_refused(gateway, key.key)


async def test_failures_of_an_address_count_over_all_gateways_exactly(open_gateway: Open) -> None:
    here, there = await open_gateway(), await open_gateway()
    attempts = [identify(gateway, f"wrong-{n}") for n in range(MAX_BY_ADDRESS) for gateway in (here, there)]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(one, Unauthenticated) for one in outcomes) == MAX_BY_ADDRESS
    assert sum(isinstance(one, TooManyRequests) for one in outcomes) == MAX_BY_ADDRESS


async def test_nobody_can_lock_out_a_key_elsewhere(open_gateway: Open) -> None:
    gateway = await open_gateway()
    key = await new_key(gateway)
    guesses = (identify(gateway, wrong_secret(key)) for _ in range(MAX_BY_KEY + 5))
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)
    assert sum(isinstance(one, TooManyRequests) for one in outcomes) == 5
    with pytest.raises(TooManyRequests):
        await identify(gateway, key.key)
    assert await identify(gateway, key.key, "192.0.2.2")


async def test_sign_ins_that_succeed_are_no_failures(open_gateway: Open) -> None:
    gateway = await open_gateway()
    key = await new_key(gateway)
    assert all(await asyncio.gather(*(identify(gateway, key.key) for _ in range(MAX_BY_ADDRESS + 1))))
    for _ in range(MAX_BY_KEY + 1):
        gateway.authenticator.forget("")
        await identify(gateway, key.key)
    with pytest.raises(Unauthenticated):
        await identify(gateway, wrong_secret(key))


@pytest.mark.parametrize(("other", "is_same"), [("2001:db8:1:2::beef", True), ("2001:db8:1:3::1", False)])
async def test_whoever_has_a_network_of_ipv6_has_one_address(open_gateway: Open, other: str, is_same: bool) -> None:
    gateway = await open_gateway("")
    key = await new_key(gateway)
    for _ in range(MAX_BY_KEY):
        with suppress(Unauthenticated):
            await identify(gateway, wrong_secret(key), "2001:db8:1:2::1")
    if is_same:
        with pytest.raises(TooManyRequests):
            await identify(gateway, key.key, other)
    else:
        assert await identify(gateway, key.key, other)


async def test_refusals_near_the_limit_are_slow(open_gateway: Open) -> None:
    gateway = await open_gateway("")
    key = await new_key(gateway)
    clock = asyncio.get_running_loop().time
    took_s: list[float] = []
    for _ in range(MAX_BY_KEY):
        began = clock()
        assert await is_refused(gateway, wrong_secret(key))
        took_s.append(clock() - began)
    assert min(took_s[MAX_BY_KEY // 2 :]) >= DELAY_S
    assert min(took_s[: MAX_BY_KEY // 2]) < DELAY_S


async def test_made_key_is_read_back(open_gateway: Open) -> None:
    gateway = await open_gateway()
    key = await new_key(gateway)
    assert parse_key(key.key) is not None
    assert (await gateway.keys.get(key.id)).model_dump() == key.model_dump(exclude={"key"})
