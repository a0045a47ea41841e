"""The feed of events at a real gateway, over a real Redis."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis import Redis

from support.gateway import GatewayUnderTest, running_gateway
from support.postgres import PostgresForTests
from support.redis import RedisForTests
from support.sse import Stream, follow
from tmws_contracts.events import Event
from tmws_shared.clock import new_id, now
from tmws_shared.events import STREAM

EVENTS = "/api/v1/events"


@pytest.fixture(scope="module")
def guarded(postgres: PostgresForTests, redis_url: str, short_directory: Path) -> Iterator[GatewayUnderTest]:
    """A gateway by itself, with authentication."""
    with running_gateway(
        postgres.create_database(),
        redis_url,
        short_directory / "feed",
        processes=("gateway",),
        auth_enabled="true",
        rate_limit_requests="1000000",
    ) as running:
        yield running


@pytest.fixture
def redis(empty_redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(empty_redis_url) as client:
        yield client


def tell(redis: Redis, subject: str, kind: str = "task.completed", namespace: str = "default", **data: Any) -> str:
    """Put an event into the stream, as a relay does; return its id there."""
    event = Event(id=new_id(), type=kind, namespace=namespace, subject=subject, data=data, occurred_at=now())
    return redis.xadd(STREAM, {"event": event.model_dump_json()}).decode()


def opened(stream: Stream) -> Stream:
    """The stream once it has begun."""
    assert stream.status == 200
    assert stream.next().id is not None
    return stream


def test_event_comes_as_it_happens(gateway: GatewayUnderTest, redis: Redis) -> None:
    tell(redis, "before")
    with follow(gateway.port, EVENTS) as stream:
        opened(stream)
        place = tell(redis, "one", result="done")
        event = stream.next()
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert (event.kind, event.id) == ("task.completed", place)
    assert (event.data["subject"], event.data["namespace"], event.data["data"]) == (
        "one",
        "default",
        {"result": "done"},
    )
    assert Event.model_validate(event.data)


def test_event_of_another_namespace_does_not_come(gateway: GatewayUnderTest, redis: Redis) -> None:
    with follow(gateway.port, EVENTS) as stream:
        opened(stream)
        tell(redis, "theirs", namespace="other")
        tell(redis, "ours")
        assert stream.subjects(1) == ["ours"]


@pytest.mark.parametrize("query", ["types=task.completed,persona.*", "types=task.completed&types=persona.*"])
def test_types_choose_what_comes(gateway: GatewayUnderTest, redis: Redis, query: str) -> None:
    with follow(gateway.port, f"{EVENTS}?{query}") as stream:
        opened(stream)
        for kind in ("task.created", "task.completed", "memory.stored", "persona.updated"):
            tell(redis, kind, kind)
        assert stream.subjects(2) == ["task.completed", "persona.updated"]


def test_who_comes_back_gets_what_it_missed(gateway: GatewayUnderTest, redis: Redis) -> None:
    with follow(gateway.port, EVENTS) as stream:
        opened(stream)
        tell(redis, "one")
        stream.subjects(1)
    for number in range(1_200):
        tell(redis, str(number))
    with follow(gateway.port, EVENTS, last_id=stream.last_id) as stream:
        assert stream.subjects(1_200) == [str(number) for number in range(1_200)]


def test_who_leaves_before_the_first_event_can_come_back_too(gateway: GatewayUnderTest, redis: Redis) -> None:
    with follow(gateway.port, EVENTS) as stream:
        opened(stream)
    tell(redis, "one")
    with follow(gateway.port, EVENTS, last_id=stream.last_id) as stream:
        assert stream.subjects(1) == ["one"]


def test_lost_events_are_admitted_first(gateway: GatewayUnderTest, redis: Redis) -> None:
    first = tell(redis, "lost")
    tell(redis, "kept")
    redis.xtrim(STREAM, maxlen=1, approximate=False)
    with follow(gateway.port, EVENTS, last_id=first) as stream:
        opened(stream)
        assert stream.next().kind == "gap"
        assert stream.subjects(1) == ["kept"]


def test_feed_goes_on_after_all_of_redis_was_flushed(gateway: GatewayUnderTest, redis: Redis) -> None:
    with follow(gateway.port, EVENTS) as stream:
        opened(stream)
        tell(redis, "one")
        stream.subjects(1)
        redis.flushall()
        tell(redis, "two")
        assert stream.subjects(1) == ["two"]


def test_entry_that_is_no_event_is_passed_over(gateway: GatewayUnderTest, redis: Redis) -> None:
    with follow(gateway.port, EVENTS) as stream:
        opened(stream)
        redis.xadd(STREAM, {"event": b"{"})
        redis.xadd(STREAM, {"other": b"1"})
        tell(redis, "one")
        assert stream.subjects(1) == ["one"]


@pytest.mark.parametrize(
    ("query", "last_id", "pointer"),
    [
        ("?types=weather.changed", None, "?types"),
        ("?types=task", None, "?types"),
        ("?types=*", None, "?types"),
        ("", "yesterday", "@last-event-id"),
        ("", "1-99999999999999999999", "@last-event-id"),
        ("?typos=task.*", None, "?typos"),
    ],
)
def test_wish_that_cannot_be_read_is_named(
    gateway: GatewayUnderTest, query: str, last_id: str | None, pointer: str
) -> None:
    with follow(gateway.port, EVENTS + query, last_id=last_id) as stream:
        assert stream.status == 422
        assert [error["pointer"] for error in stream.read()["errors"]] == [pointer]


def test_head_has_no_end_to_wait_for(gateway: GatewayUnderTest, redis: Redis) -> None:
    answer = gateway.ask("HEAD", EVENTS)
    assert (answer.status, answer.body) == (200, b"")


def test_caller_sees_what_its_scopes_and_its_persona_let_it(guarded: GatewayUnderTest, redis: Redis) -> None:
    muses = guarded.new_key("muses", "memory:read", "task:read", persona="muses-documenter")["key"]
    with follow(guarded.port, EVENTS, token=muses) as stream:
        opened(stream)
        tell(redis, "workflow", "execution.completed")
        tell(redis, "unknown", "secret.told")
        tell(redis, "someone's", "memory.stored", audience=["subject:alice"])
        tell(redis, "other persona's", "memory.stored", audience=["persona:hera-strategist"])
        tell(redis, "mine", "memory.stored", audience=["persona:muses-documenter"])
        tell(redis, "everybody's", "memory.stored")
        tell(redis, "task")
        assert stream.subjects(3) == ["mine", "everybody's", "task"]


def test_feed_needs_a_caller_and_a_scope(guarded: GatewayUnderTest, redis: Redis) -> None:
    writer = guarded.new_key("writer", "memory:write", "task:read")["key"]
    auditor = guarded.new_key("auditor", "audit:read")["key"]
    answers = [
        guarded.ask("GET", EVENTS),
        guarded.ask("GET", EVENTS, token=auditor),
        guarded.ask("GET", f"{EVENTS}?types=task.*,memory.stored", token=writer),
    ]
    assert [answer.status for answer in answers] == [401, 403, 403]
    assert answers[2].json["scope"] == "memory:read"


def test_feed_ends_with_the_credentials(guarded: GatewayUnderTest, redis: Redis) -> None:
    soon = (now() + timedelta(seconds=2)).isoformat()
    key = guarded.new_key("short", "task:read", expires_at=soon)["key"]
    started = time.monotonic()
    with follow(guarded.port, EVENTS, token=key) as stream:
        opened(stream)
        tell(redis, "one")
        assert stream.subjects(1) == ["one"]
        assert stream.next().comment == "the credentials are not valid any more"
        with pytest.raises(EOFError):
            stream.next()
    assert time.monotonic() - started < 5


def test_feed_waits_for_redis_and_goes_on(guarded: GatewayUnderTest, redis_server: RedisForTests, redis: Redis) -> None:
    with follow(guarded.port, EVENTS, token=guarded.admin_key) as stream:
        opened(stream)
        tell(redis, "one")
        stream.subjects(1)
        redis_server.stop()
        try:
            assert "Redis" in (stream.next().comment or "")
            refused = guarded.ask("GET", EVENTS, token=guarded.admin_key)
        finally:
            redis_server.start()
        with Redis.from_url(redis_server.url) as client:
            tell(client, "two")
        assert stream.subjects(1) == ["two"]
    assert (refused.status, refused.headers["retry-after"]) == (503, "5")


def test_stopping_gateway_ends_its_feeds_at_once(guarded: GatewayUnderTest, redis: Redis) -> None:
    with follow(guarded.port, EVENTS, token=guarded.admin_key) as stream:
        opened(stream)
        started = time.monotonic()
        assert guarded.stop("gateway") == 0
        assert time.monotonic() - started < 3
        with pytest.raises(EOFError):
            stream.next()
    guarded.start("gateway")
    guarded.wait_until_ready()
    tell(redis, "after")
    with follow(guarded.port, EVENTS, token=guarded.admin_key, last_id=stream.last_id) as stream:
        assert stream.subjects(1) == ["after"]


def test_log_has_no_errors(guarded: GatewayUnderTest) -> None:
    levels = [orjson.loads(line)["level"] for line in guarded.log().splitlines()]
    assert "error" not in levels
