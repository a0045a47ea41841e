"""Who may use the processor next: short interactive requests before bulk ones, and not more than fit.

A request's work is cut into turns of about as much as one long text takes. Each waits in its lane and then runs on
a thread, so an interactive request never waits for more than the turns that are running.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from time import perf_counter
from typing import Protocol, TypeVar

import numpy as np

from tmws_embedding.errors import QueueFull
from tmws_embedding.metrics import INFERENCE_SECONDS, QUEUED_TEXTS
from tmws_embedding.model import Embedded, Tokens, Vectors

INTERACTIVE_TEXTS = 4
# Ten to twenty milliseconds of work, as much as one text of the full length takes.
TURN_TOKENS = 256
TOKENIZE_TEXTS = 32
# Beyond 1,024 characters a text takes no more time, it is cut at 256 tokens.
SLICE_CHARACTERS = 1024
# One turn in eight goes to bulk work even when interactive requests never cease.
BULK_SHARE = 8
MAX_RETRY_AFTER_S = 30

Part = TypeVar("Part")
Result = TypeVar("Result")


class Lane(StrEnum):
    """What a request's texts wait among."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class Encoder(Protocol):
    """What turns texts into vectors, on the calling thread."""

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Return a vector for each text."""
        ...

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the tokens of each text."""
        ...

    def batches(self, lengths: Sequence[int]) -> list[list[int]]:
        """Return which texts of these numbers of tokens may share a run."""
        ...

    def infer(self, tokens: Sequence[Tokens]) -> Vectors:
        """Return the vectors of texts that share a run."""
        ...


def lane_of(texts: Sequence[str]) -> Lane:
    """Return the lane a request belongs to."""
    return Lane.INTERACTIVE if len(texts) <= INTERACTIVE_TEXTS else Lane.BULK


def slices(texts: Sequence[str]) -> list[Sequence[str]]:
    """Cut the texts of an interactive request: what is short goes together, what is long alone."""
    if sum(map(len, texts)) <= SLICE_CHARACTERS:
        return [texts]
    return [[text] for text in texts]


def turns_of(batches: Sequence[list[int]], lengths: Sequence[int]) -> list[list[list[int]]]:
    """Put batches together until a turn has enough tokens."""
    turns: list[list[list[int]]] = []
    room = 0
    for batch in batches:
        tokens = sum(lengths[index] for index in batch)
        if tokens > room:
            turns.append([])
            room = TURN_TOKENS
        turns[-1].append(batch)
        room -= tokens
    return turns


class Batcher:
    """Runs encoders on `threads` threads; at most `max_queued` texts wait in each lane."""

    def __init__(self, threads: int, max_queued: int) -> None:
        self.queued = dict.fromkeys(Lane, 0)
        self._threads = threads
        self._max_queued = max_queued
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="embed")
        self._turns = Turns(threads)
        self._text_s = 0.01

    def close(self) -> None:
        """Let the running turns end and stop the threads."""
        self._pool.shutdown(cancel_futures=True)

    async def embed(self, encoder: Encoder, texts: Sequence[str]) -> Embedded:
        """Return the vectors of `texts`; when cancelled, what has not begun is dropped.

        Raises:
            QueueFull: too many texts are waiting.
        """
        lane = lane_of(texts)
        self._admit(lane, len(texts))
        started = perf_counter()
        try:
            few = lane is Lane.INTERACTIVE
            return await (self._embed_few(encoder, texts) if few else self._embed_many(encoder, texts))
        finally:
            INFERENCE_SECONDS.labels(lane).observe(perf_counter() - started)
            self._count(lane, -len(texts))

    async def _embed_few(self, encoder: Encoder, texts: Sequence[str]) -> Embedded:
        done = await self._take_turns(encoder.embed, slices(texts), Lane.INTERACTIVE)
        return Embedded(np.concatenate([part.vectors for part in done]), sum(part.tokens for part in done))

    async def _embed_many(self, encoder: Encoder, texts: Sequence[str]) -> Embedded:
        parts = [texts[start : start + TOKENIZE_TEXTS] for start in range(0, len(texts), TOKENIZE_TEXTS)]
        tokens = [ids for part in await self._take_turns(encoder.tokenize, parts, Lane.BULK) for ids in part]
        lengths = [len(ids) for ids in tokens]

        def infer(batches: Sequence[list[int]]) -> Vectors:
            started = perf_counter()
            vectors = np.concatenate([encoder.infer([tokens[index] for index in batch]) for batch in batches])
            self._note_pace(perf_counter() - started, len(vectors))
            return vectors

        turns = turns_of(encoder.batches(lengths), lengths)
        done = np.concatenate(await self._take_turns(infer, turns, Lane.BULK))
        vectors = np.empty_like(done)
        vectors[[index for turn in turns for batch in turn for index in batch]] = done
        return Embedded(vectors, sum(lengths))

    def _admit(self, lane: Lane, texts: int) -> None:
        if self.queued[lane] + texts > self._max_queued:
            wait_s = math.ceil(self.queued[lane] * self._text_s / self._threads)
            raise QueueFull(retry_after_s=max(1, min(wait_s, MAX_RETRY_AFTER_S)))
        self._count(lane, texts)

    def _count(self, lane: Lane, texts: int) -> None:
        self.queued[lane] += texts
        QUEUED_TEXTS.labels(lane).set(self.queued[lane])

    def _note_pace(self, took_s: float, texts: int) -> None:
        # A moving average over about ten turns: how fast this machine is with these texts.
        self._text_s += 0.1 * (took_s / texts - self._text_s)

    async def _take_turns(self, work: Callable[[Part], Result], parts: Sequence[Part], lane: Lane) -> list[Result]:
        if len(parts) == 1:
            return [await self._take_turn(work, parts[0], lane)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._take_turn(work, part, lane)) for part in parts]
        return [task.result() for task in tasks]

    async def _take_turn(self, work: Callable[[Part], Result], part: Part, lane: Lane) -> Result:
        await self._turns.take(lane)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, part)
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
