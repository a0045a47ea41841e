"""The stream of events in Redis, as far as the feed needs it."""

# redis-py types its commands loosely; this is its border file.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tmws_gateway.feed.entries import BEGINNING, Entry, EntryId, parse_id, read_entry, show_id
from tmws_shared.events import STREAM
from tmws_shared.redis import RedisDown, open_redis

BATCH = 500
BLOCK_MS = 5_000
# After an interruption many listeners ask for what they missed.
ASKED_AT_ONCE = 8
_Raw: TypeAlias = Sequence[tuple[bytes, Mapping[bytes, bytes]]]


@dataclass(frozen=True, slots=True)
class Page:
    """Entries after an id; `end` is the last one looked at, `has_gap` whether some before them are lost."""

    entries: list[Entry]
    end: EntryId
    has_gap: bool


class EventStream:
    """Asks Redis; without a URL it is always down."""

    def __init__(self, url: str) -> None:
        # Who waits has a connection of its own, and more patience.
        self._waiting = open_redis(url, connect_timeout_s=1, timeout_s=BLOCK_MS / 1000 + 2) if url else None
        self._asking = open_redis(url, connect_timeout_s=0.5, timeout_s=2) if url else None
        self._gate = asyncio.Semaphore(ASKED_AT_ONCE)

    async def bounds(self) -> tuple[EntryId, EntryId]:
        """Return the ids of the first and the last entry; both are the beginning when there is none.

        Raises:
            RedisDown: Redis is out of reach.
        """
        client = _there(self._asking)
        try:
            async with client.pipeline(transaction=False) as pipe:
                pipe.xrange(STREAM, count=1)
                pipe.xrevrange(STREAM, count=1)
                first, last = await pipe.execute()
        except (RedisError, OSError) as error:
            raise RedisDown from error
        return _end_of(first, BEGINNING), _end_of(last, BEGINNING)

    async def page(self, after: EntryId) -> Page:
        """Return what comes after an id.

        Raises:
            RedisDown: Redis is out of reach.
        """
        client = _there(self._asking)
        async with self._gate:
            first, _ = await self.bounds()
            try:
                found: _Raw = await client.xrange(STREAM, min=f"({show_id(after)}", count=BATCH)
            except (RedisError, OSError) as error:
                raise RedisDown from error
        return Page(_entries(found), _end_of(found, after), first > after > BEGINNING)

    async def wait(self, after: EntryId) -> Page:
        """Return what comes after an id as soon as there is something; after some seconds nothing.

        Raises:
            RedisDown: Redis is out of reach.
        """
        client = _there(self._waiting)
        try:
            streams: Any = await client.xread({STREAM: show_id(after)}, count=BATCH, block=BLOCK_MS)
        except (RedisError, OSError) as error:
            raise RedisDown from error
        found: _Raw = streams[0][1] if streams else ()
        return Page(_entries(found), _end_of(found, after), has_gap=False)

    async def close(self) -> None:
        """Close the connections."""
        for client in (self._waiting, self._asking):
            if client is not None:
                await client.aclose()


def _there(client: Redis | None) -> Redis:
    if client is None:
        raise RedisDown
    return client


def _entries(found: _Raw) -> list[Entry]:
    entries = (read_entry(entry_id, fields) for entry_id, fields in found)
    return [entry for entry in entries if entry is not None]


def _end_of(found: _Raw, otherwise: EntryId) -> EntryId:
    return (parse_id(found[-1][0].decode()) or otherwise) if found else otherwise
