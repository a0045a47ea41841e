"""Listeners of a feed over a real Redis: slow ones, silent ones, and many."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from redis.asyncio import Redis
from starlette.types import Message

from tmws_contracts.events import Event
from tmws_gateway.body import ClientGone
from tmws_gateway.exchange import KEY, Exchange
from tmws_gateway.feed.answer import FeedAnswer
from tmws_gateway.feed.entries import View, view_of
from tmws_gateway.feed.feed import Feed
from tmws_gateway.feed.listener import PIECE_BYTES
from tmws_gateway.feed.stream import EventStream
from tmws_shared.auth import Principal
from tmws_shared.background import running
from tmws_shared.clock import new_id, now
from tmws_shared.events import STREAM
from tmws_shared.problems import Unavailable
from tmws_shared.redis import open_redis

VIEW: View = view_of(Principal("alice", "team-a", frozenset({"task:read"})), frozenset())


@pytest.fixture
async def redis(empty_redis_url: str) -> AsyncGenerator[Redis]:
    async with open_redis(empty_redis_url, timeout_s=1) as client:
        yield client


@pytest.fixture
async def feed(empty_redis_url: str) -> AsyncGenerator[Feed]:
    stream = EventStream(empty_redis_url)
    opened = Feed(stream)
    async with running({"read": opened.run, "tick": opened.tick}):
        yield opened
    await stream.close()


async def tell(redis: Redis, *subjects: str, namespace: str = "team-a", text: str = "") -> None:
    async with redis.pipeline(transaction=False) as pipe:
        for subject in subjects:
            event = Event(
                id=new_id(), type="task.created", namespace=namespace, subject=subject, data={"text": text},
                occurred_at=now(),
            )  # fmt: skip
            pipe.xadd(STREAM, {"event": event.model_dump_json()})
        await pipe.execute()


def subjects_in(pieces: bytes) -> list[str]:
    lines = [line for line in pieces.decode().split("\n") if line.startswith("data: {")]
    return [line.partition('"subject":"')[2].partition('"')[0] for line in lines]


async def test_slow_listener_gets_everything_in_order(
    feed: Feed, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tmws_gateway.feed.channels.KEPT", 10)
    wanted = [str(number) for number in range(1_500)]
    slow, quick = await feed.admit(VIEW, None), await feed.admit(VIEW, None)
    heard: dict[str, bytes] = {"slow": b"", "quick": b""}
    with feed.listening(slow) as channel, feed.listening(quick):
        for start in range(0, 1_500, 250):
            await tell(redis, *wanted[start : start + 250])
            async with asyncio.timeout(10):
                while len(subjects_in(heard["quick"])) < start + 250:
                    heard["quick"] += await quick.next(channel)
        async with asyncio.timeout(10):
            while len(subjects_in(heard["slow"])) < 1_500:
                heard["slow"] += await slow.next(channel)
    assert subjects_in(heard["slow"]) == wanted
    assert subjects_in(heard["quick"]) == wanted
    assert b"event: gap" not in heard["slow"] + heard["quick"]


async def test_large_events_come_in_pieces(feed: Feed, redis: Redis) -> None:
    listener = await feed.admit(VIEW, None)
    await tell(redis, *map(str, range(40)), text="x" * 10_000)
    found: list[str] = []
    with feed.listening(listener) as channel:
        async with asyncio.timeout(10):
            while len(found) < 40:
                piece = await listener.next(channel)
                assert len(piece) < PIECE_BYTES + 11_000
                found += subjects_in(piece)
    assert found == [str(number) for number in range(40)]


async def test_silent_feed_is_kept_alive_and_its_place_moves_on(
    feed: Feed, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tmws_gateway.feed.listener.KEEP_ALIVE_S", 0.3)
    monkeypatch.setattr("tmws_gateway.feed.feed.TICK_S", 0.1)
    listener = await feed.admit(VIEW, None)
    with feed.listening(listener) as channel:
        listener.greet()
        await asyncio.sleep(0.1)
        await tell(redis, "theirs", namespace="team-b")
        async with asyncio.timeout(5):
            piece = await listener.next(channel)
    ((last, _),) = await redis.xrevrange(STREAM, count=1)
    assert piece == b": keep-alive\nid: %b\n\n" % last


async def test_each_of_many_listeners_hears_an_event_read_once(feed: Feed, redis: Redis) -> None:
    listeners = [await feed.admit(VIEW, None) for _ in range(200)]

    async def hear_one(number: int) -> list[str]:
        listeners[number].greet()
        with feed.listening(listeners[number]) as channel:
            return subjects_in(await listeners[number].next(channel))

    async with asyncio.timeout(10):
        hearing = asyncio.gather(*(hear_one(number) for number in range(200)))
        await asyncio.sleep(0.1)
        before = (await redis.info("commandstats")).get("cmdstat_xread", {"calls": 0})["calls"]
        await tell(redis, "one")
        heard = await hearing
        after = (await redis.info("commandstats"))["cmdstat_xread"]["calls"]
    assert heard == [["one"]] * 200
    assert after - before <= 3


async def test_nobody_listening_costs_redis_nothing(feed: Feed, redis: Redis) -> None:
    listener = await feed.admit(VIEW, None)
    with feed.listening(listener):
        await asyncio.sleep(0.05)
    await tell(redis, "wakes the last read")
    await asyncio.sleep(0.1)
    await redis.config_resetstat()
    await tell(redis, "unheard")
    await asyncio.sleep(0.2)
    assert "cmdstat_xread" not in await redis.info("commandstats")


async def test_too_many_listeners_are_refused(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tmws_gateway.feed.feed.MAX_LISTENERS", 1)
    with feed.listening(await feed.admit(VIEW, None)), pytest.raises(Unavailable):
        await feed.admit(VIEW, None)
    await feed.admit(VIEW, None)


async def test_listener_that_takes_nothing_is_let_go(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tmws_gateway.feed.answer.STUCK_S", 0.1)
    never = asyncio.Event()

    async def receive() -> Message:
        await never.wait()
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await never.wait()

    exchange = Exchange("GET", "/api/v1/events", "192.0.2.1", "request-1", None)
    answer = FeedAnswer(feed, await feed.admit(VIEW, None), None)
    async with asyncio.timeout(5):
        with pytest.raises(ClientGone):
            await answer({"type": "http", "state": {KEY: exchange}}, receive, send)


async def test_gateway_without_redis_has_no_feed() -> None:
    with pytest.raises(Unavailable):
        await Feed(EventStream("")).admit(VIEW, None)
