"""Who gets the processor, when, and who is turned away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from tmws_embedding.batcher import BULK_SHARE, SLICE_TEXTS, Batcher, Lane, Turns, lane_of, slices
from tmws_embedding.errors import QueueFull
from tmws_embedding.model import Embedded

BULK = [f"bulk {number}" for number in range(SLICE_TEXTS * 2)]


class GatedEncoder:
    """Embeds a text as its length; each slice waits until the gate lets it through."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.started = threading.Semaphore(0)
        self.seen: list[str] = []

    def embed(self, texts: Sequence[str]) -> Embedded:
        self.seen += texts
        self.started.release()
        assert self.gate.acquire(timeout=5)
        return Embedded(np.array([[len(text)] for text in texts], np.float32), len(texts))

    async def has_started(self) -> None:
        assert await asyncio.to_thread(self.started.acquire, timeout=5)

    def open(self, slices: int = 1000) -> None:
        self.gate.release(slices)


@pytest.fixture
def encoder() -> Iterator[GatedEncoder]:
    encoder = GatedEncoder()
    yield encoder
    encoder.open()


@pytest.fixture
def batcher(encoder: GatedEncoder) -> Iterator[Batcher]:
    batcher = Batcher(encoder, threads=1, max_queued=40)
    yield batcher
    encoder.open()
    batcher.close()


async def test_vectors_come_back_in_the_order_of_the_texts(batcher: Batcher, encoder: GatedEncoder) -> None:
    texts = ["x" * length for length in (900, 3, 800, 1, 2, 700)]
    encoder.open()

    embedded = await batcher.embed(texts)

    assert embedded.vectors[:, 0].tolist() == [900, 3, 800, 1, 2, 700]


async def test_tokens_of_all_slices_are_added(batcher: Batcher, encoder: GatedEncoder) -> None:
    encoder.open()

    embedded = await batcher.embed(BULK)

    assert embedded.tokens == len(BULK)


async def test_interactive_request_overtakes_the_rest_of_a_bulk_request(
    batcher: Batcher, encoder: GatedEncoder
) -> None:
    bulk = asyncio.create_task(batcher.embed(BULK))
    await encoder.has_started()
    query = asyncio.create_task(batcher.embed(["query"]))
    await asyncio.sleep(0)
    encoder.open()

    await asyncio.gather(bulk, query)

    assert encoder.seen == [*BULK[:SLICE_TEXTS], "query", *BULK[SLICE_TEXTS:]]


async def test_requests_of_one_lane_are_served_in_order(batcher: Batcher, encoder: GatedEncoder) -> None:
    first, second, third = (asyncio.create_task(batcher.embed([name])) for name in ("first", "second", "third"))
    encoder.open()

    await asyncio.gather(third, second, first)

    assert encoder.seen == ["first", "second", "third"]


async def test_full_lane_refuses_with_retry_after(batcher: Batcher, encoder: GatedEncoder) -> None:
    waiting = [asyncio.create_task(batcher.embed(BULK)) for _ in range(2)]
    await encoder.has_started()

    with pytest.raises(QueueFull) as refused:
        await batcher.embed(BULK)

    assert refused.value.status == 503
    assert int(refused.value.headers["Retry-After"]) >= 1
    encoder.open()
    await asyncio.gather(*waiting)


async def test_full_bulk_lane_leaves_the_interactive_one_open(batcher: Batcher, encoder: GatedEncoder) -> None:
    waiting = [asyncio.create_task(batcher.embed(BULK)) for _ in range(2)]
    await encoder.has_started()
    encoder.open()

    embedded = await batcher.embed(["query"])

    assert len(embedded.vectors) == 1
    await asyncio.gather(*waiting)


async def test_lane_is_open_again_once_its_texts_are_done(batcher: Batcher, encoder: GatedEncoder) -> None:
    encoder.open()
    await asyncio.gather(batcher.embed(BULK), batcher.embed(BULK))

    embedded = await batcher.embed(BULK)

    assert len(embedded.vectors) == len(BULK)


async def test_queued_counts_texts_not_finished(batcher: Batcher, encoder: GatedEncoder) -> None:
    waiting = asyncio.create_task(batcher.embed(BULK))
    await encoder.has_started()

    assert batcher.queued == {Lane.INTERACTIVE: 0, Lane.BULK: len(BULK)}

    encoder.open()
    await waiting
    assert batcher.queued == {Lane.INTERACTIVE: 0, Lane.BULK: 0}


async def test_cancelled_request_never_reaches_the_model_with_its_waiting_texts(
    batcher: Batcher, encoder: GatedEncoder
) -> None:
    running = asyncio.create_task(batcher.embed(["running"]))
    await encoder.has_started()
    dropped = asyncio.create_task(batcher.embed(BULK))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    dropped.cancel()
    await asyncio.wait([dropped])
    encoder.open()
    await batcher.embed(["after"])

    assert dropped.cancelled()
    assert encoder.seen == ["running", "after"]
    assert batcher.queued[Lane.BULK] == 0
    await running


async def test_failing_model_frees_its_turn(batcher: Batcher, encoder: GatedEncoder) -> None:
    encoder.open()
    with pytest.raises(ExceptionGroup):
        await batcher.embed([None])  # pyright: ignore[reportArgumentType] -- makes the fake fail

    embedded = await batcher.embed(["fine"])

    assert len(embedded.vectors) == 1


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


def test_slices_keep_every_text_in_order() -> None:
    texts = ["a" * 600, "b" * 600, *map(str, range(20)), "c" * 5000, "d"]

    cut = [text for part in slices(texts) for text in part]

    assert cut == texts


def test_slice_is_about_one_long_text_or_eight_short_ones() -> None:
    texts = ["long" * 1000, "long" * 1000, *["short"] * 9]

    sizes = [len(part) for part in slices(texts)]

    assert sizes == [1, 1, 8, 1]
