"""Who gets the processor, when, and who is turned away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from tmws_embedding.batcher import BULK_SHARE, TURN_TOKENS, Batcher, Lane, Turns, lane_of, slices, turns_of
from tmws_embedding.errors import QueueFull
from tmws_embedding.model import Embedded, Tokens, Vectors

BULK = [f"bulk {number}" for number in range(16)]


class GatedEncoder:
    """Embeds a text as its length, one turn for each text; a run waits until the gate lets it through."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.started = threading.Semaphore(0)
        self.seen: list[Tokens] = []
        self.failure: list[Exception] = []

    def embed(self, texts: Sequence[str]) -> Embedded:
        return Embedded(self.infer(self.tokenize(texts)), len(texts))

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        return [list(text.encode()) for text in texts]

    def batches(self, lengths: Sequence[int]) -> list[list[int]]:
        return [[index] for index in reversed(range(len(lengths)))]

    def infer(self, tokens: Sequence[Tokens]) -> Vectors:
        for failure in self.failure:
            self.failure = []
            raise failure
        self.seen += tokens
        self.started.release()
        assert self.gate.acquire(timeout=5)
        return np.array([[len(ids)] for ids in tokens], np.float32)

    @property
    def seen_texts(self) -> list[str]:
        return [bytes(ids).decode() for ids in self.seen]

    async def has_started(self) -> None:
        assert await asyncio.to_thread(self.started.acquire, timeout=5)

    def open(self, runs: int = 1000) -> None:
        self.gate.release(runs)


@pytest.fixture
def encoder() -> Iterator[GatedEncoder]:
    encoder = GatedEncoder()
    yield encoder
    encoder.open()


@pytest.fixture
def batcher(encoder: GatedEncoder) -> Iterator[Batcher]:
    batcher = Batcher(threads=1, max_queued=40)
    yield batcher
    encoder.open()
    batcher.close()


async def test_vectors_come_back_in_the_order_of_the_texts(batcher: Batcher, encoder: GatedEncoder) -> None:
    texts = ["x" * length for length in (900, 3, 800, 1, 2, 700)]
    encoder.open()

    embedded = await batcher.embed(encoder, texts)

    assert embedded.vectors[:, 0].tolist() == [900, 3, 800, 1, 2, 700]


async def test_tokens_of_all_texts_are_added(batcher: Batcher, encoder: GatedEncoder) -> None:
    encoder.open()

    embedded = await batcher.embed(encoder, ["aa"] * 5 + ["b"])

    assert embedded.tokens == 11


async def test_interactive_request_overtakes_the_rest_of_a_bulk_request(
    batcher: Batcher, encoder: GatedEncoder
) -> None:
    long = ["a" * TURN_TOKENS] * 8
    bulk = asyncio.create_task(batcher.embed(encoder, long))
    await encoder.has_started()
    query = asyncio.create_task(batcher.embed(encoder, ["query"]))
    await asyncio.sleep(0)
    encoder.open()

    await asyncio.gather(bulk, query)

    assert encoder.seen_texts == [long[0], "query", *long[1:]]


async def test_requests_of_one_lane_are_served_in_order(batcher: Batcher, encoder: GatedEncoder) -> None:
    first, second, third = (
        asyncio.create_task(batcher.embed(encoder, [name])) for name in ("first", "second", "third")
    )
    encoder.open()

    await asyncio.gather(third, second, first)

    assert encoder.seen_texts == ["first", "second", "third"]


async def test_full_lane_refuses_with_retry_after(batcher: Batcher, encoder: GatedEncoder) -> None:
    waiting = [asyncio.create_task(batcher.embed(encoder, BULK)) for _ in range(2)]
    await encoder.has_started()

    with pytest.raises(QueueFull) as refused:
        await batcher.embed(encoder, BULK)

    assert refused.value.status == 503
    assert int(refused.value.headers["Retry-After"]) >= 1
    encoder.open()
    await asyncio.gather(*waiting)


async def test_full_bulk_lane_leaves_the_interactive_one_open(batcher: Batcher, encoder: GatedEncoder) -> None:
    waiting = [asyncio.create_task(batcher.embed(encoder, BULK)) for _ in range(2)]
    await encoder.has_started()
    encoder.open()

    embedded = await batcher.embed(encoder, ["query"])

    assert len(embedded.vectors) == 1
    await asyncio.gather(*waiting)


async def test_lane_is_open_again_once_its_texts_are_done(batcher: Batcher, encoder: GatedEncoder) -> None:
    encoder.open()
    await asyncio.gather(batcher.embed(encoder, BULK), batcher.embed(encoder, BULK))

    embedded = await batcher.embed(encoder, BULK)

    assert len(embedded.vectors) == len(BULK)


async def test_queued_counts_texts_not_finished(batcher: Batcher, encoder: GatedEncoder) -> None:
    waiting = asyncio.create_task(batcher.embed(encoder, BULK))
    await encoder.has_started()

    assert batcher.queued == {Lane.INTERACTIVE: 0, Lane.BULK: len(BULK)}

    encoder.open()
    await waiting
    assert batcher.queued == {Lane.INTERACTIVE: 0, Lane.BULK: 0}


async def test_cancelled_request_never_reaches_the_model_with_its_waiting_texts(
    batcher: Batcher, encoder: GatedEncoder
) -> None:
    running = asyncio.create_task(batcher.embed(encoder, ["running"]))
    await encoder.has_started()
    dropped = asyncio.create_task(batcher.embed(encoder, BULK))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    dropped.cancel()
    await asyncio.wait([dropped])
    encoder.open()
    await batcher.embed(encoder, ["after"])

    assert dropped.cancelled()
    assert encoder.seen_texts == ["running", "after"]
    assert batcher.queued[Lane.BULK] == 0
    await running


@pytest.mark.parametrize("texts", [["query"], BULK], ids=["interactive", "bulk"])
async def test_failing_model_frees_its_turn(batcher: Batcher, encoder: GatedEncoder, texts: list[str]) -> None:
    encoder.open()
    encoder.failure = [ValueError("broken")]
    with pytest.raises((ValueError, ExceptionGroup)):
        await batcher.embed(encoder, texts)

    embedded = await batcher.embed(encoder, ["fine"])

    assert len(embedded.vectors) == 1
    assert batcher.queued == {Lane.INTERACTIVE: 0, Lane.BULK: 0}


async def test_turn_given_in_the_moment_of_cancellation_goes_to_the_next() -> None:
    turns = Turns(free=1)
    await turns.take(Lane.BULK)
    cancelled = asyncio.create_task(turns.take(Lane.BULK))
    next_one = asyncio.create_task(turns.take(Lane.BULK))
    await asyncio.sleep(0)

    turns.give_back()
    cancelled.cancel()

    await asyncio.wait_for(next_one, 1)
    assert cancelled.cancelled()


async def test_endless_interactive_work_does_not_starve_bulk_work() -> None:
    turns = Turns(free=1)
    await turns.take(Lane.INTERACTIVE)
    bulk = asyncio.create_task(turns.take(Lane.BULK))
    interactive = [asyncio.create_task(turns.take(Lane.INTERACTIVE)) for _ in range(2 * BULK_SHARE)]
    await asyncio.sleep(0)

    for _ in range(BULK_SHARE):
        turns.give_back()
    await asyncio.sleep(0)

    assert bulk.done()
    assert sum(task.done() for task in interactive) == BULK_SHARE - 1
    for task in interactive:
        task.cancel()


@pytest.mark.parametrize(("texts", "lane"), [(1, Lane.INTERACTIVE), (4, Lane.INTERACTIVE), (5, Lane.BULK)])
def test_few_texts_are_interactive(texts: int, lane: Lane) -> None:
    assert lane_of(["text"] * texts) is lane


def test_short_texts_of_a_request_go_together() -> None:
    assert slices(["a", "b", "c"]) == [["a", "b", "c"]]


def test_long_texts_of_a_request_go_one_by_one() -> None:
    assert slices(["a" * 2000, "b"]) == [["a" * 2000], ["b"]]


def test_turn_is_one_long_text_or_several_short_ones() -> None:
    lengths = [TURN_TOKENS, 100, 100, 100, 10]

    turns = turns_of([[0], [1, 2], [3], [4]], lengths)

    assert turns == [[[0]], [[1, 2]], [[3], [4]]]


def test_batch_larger_than_a_turn_is_a_turn() -> None:
    assert turns_of([[0, 1], [2]], [TURN_TOKENS, TURN_TOKENS, 1]) == [[[0, 1]], [[2]]]
