"""Who may use the processor next: short interactive requests before bulk ones, and not more than fit.

A request is cut into slices of a few texts. Each slice waits for its turn in its lane and then runs on a thread, so
an interactive request never waits for more than the slices that are running.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from time import perf_counter
from typing import Protocol

import numpy as np

from tmws_embedding.errors import QueueFull
from tmws_embedding.metrics import INFERENCE_SECONDS, QUEUED_TEXTS
from tmws_embedding.model import Embedded

INTERACTIVE_TEXTS = 4
# About ten milliseconds of work; beyond 1,024 characters a text takes no more time, it is cut at 256 tokens.
SLICE_TEXTS = 8
SLICE_CHARACTERS = 1024
# One turn in eight goes to bulk work even when interactive requests never cease.
BULK_SHARE = 8
MAX_RETRY_AFTER_S = 30


class Lane(StrEnum):
    """What a request's texts wait among."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class Encoder(Protocol):
    """What turns texts into vectors, on the calling thread."""

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Return a vector for each text."""
        ...


def lane_of(texts: Sequence[str]) -> Lane:
    """Return the lane a request belongs to."""
    return Lane.INTERACTIVE if len(texts) <= INTERACTIVE_TEXTS else Lane.BULK


def slices(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut texts into runs of similar work, keeping their order."""
    start, characters = 0, 0
    for index, text in enumerate(texts):
        size = min(len(text), SLICE_CHARACTERS)
        if index > start and (characters + size > SLICE_CHARACTERS or index - start == SLICE_TEXTS):
            yield texts[start:index]
            start, characters = index, 0
        characters += size
    yield texts[start:]


class Batcher:
    """Runs an encoder on `threads` threads; at most `max_queued` texts wait in each lane."""

    def __init__(self, encoder: Encoder, threads: int, max_queued: int) -> None:
        self.queued = dict.fromkeys(Lane, 0)
        self._encoder = encoder
        self._threads = threads
        self._max_queued = max_queued
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="embed")
        self._turns = Turns(threads)
        self._text_s = 0.01

    def close(self) -> None:
        """Let the running slices end and stop the threads."""
        self._pool.shutdown(cancel_futures=True)

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Return the vectors of `texts`; when cancelled, what has not begun is dropped.

        Raises:
            QueueFull: too many texts are waiting.
        """
        lane = lane_of(texts)
        self._admit(lane, len(texts))
        try:
            with INFERENCE_SECONDS.labels(lane).time():
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._embed_slice(part, lane)) for part in slices(texts)]
        finally:
            self._count(lane, -len(texts))
        done = [task.result() for task in tasks]
        return Embedded(np.concatenate([part.vectors for part in done]), sum(part.tokens for part in done))

    def _admit(self, lane: Lane, texts: int) -> None:
        if self.queued[lane] + texts > self._max_queued:
            wait_s = math.ceil(self.queued[lane] * self._text_s / self._threads)
            raise QueueFull(retry_after_s=max(1, min(wait_s, MAX_RETRY_AFTER_S)))
        self._count(lane, texts)

    def _count(self, lane: Lane, texts: int) -> None:
        self.queued[lane] += texts
        QUEUED_TEXTS.labels(lane).set(self.queued[lane])

    async def _embed_slice(self, texts: Sequence[str], lane: Lane) -> Embedded:
        await self._turns.take(lane)
        try:
            started = perf_counter()
            embedded = await asyncio.get_running_loop().run_in_executor(self._pool, self._encoder.embed, texts)
            # A moving average over about ten slices: how fast this machine is with these texts.
            self._text_s += 0.1 * ((perf_counter() - started) / len(texts) - self._text_s)
            return embedded
        finally:
            self._turns.give_back()


class Turns:
    """A semaphore with lanes: who waits in the interactive lane comes first."""

    def __init__(self, free: int) -> None:
        self._free = free
        self._given = 0
        self._waiting: dict[Lane, deque[asyncio.Future[None]]] = {lane: deque() for lane in Lane}

    async def take(self, lane: Lane) -> None:
        """Wait for a turn."""
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[lane].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            # The turn may have been given in the very moment of the cancellation.
            if not turn.cancelled():
                self.give_back()
            raise

    def give_back(self) -> None:
        """End a turn: the next one who still waits gets it."""
        for lane in self._order():
            while self._waiting[lane]:
                turn = self._waiting[lane].popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._free += 1

    def _order(self) -> tuple[Lane, Lane]:
        self._given += 1
        if self._given % BULK_SHARE:
            return Lane.INTERACTIVE, Lane.BULK
        return Lane.BULK, Lane.INTERACTIVE
