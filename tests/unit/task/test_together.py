"""Requests that go together."""

import asyncio
from collections.abc import Sequence

import pytest

from tmws_shared.problems import Unavailable
from tmws_task.together import AT_ONCE, MOST, Together


class Work:
    """Doubles numbers as soon as it may, and remembers in which groups they came."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.groups: list[list[int]] = []
        self.gate = asyncio.Event()
        if is_open:
            self.gate.set()

    async def __call__(self, group: Sequence[int]) -> list[int]:
        self.groups.append(list(group))
        await self.gate.wait()
        if 13 in group:
            raise ValueError("unlucky")
        if 503 in group:
            raise Unavailable
        return [2 * number for number in group]


async def test_who_comes_alone_goes_alone():
    work = Work()
    together = Together(work, lambda _: None)
    assert [await together.do(1), await together.do(2)] == [2, 4]
    assert work.groups == [[1], [2]]


async def begin(work: Work, together: Together[int, int], number: int) -> asyncio.Task[int]:
    """Ask, and return when that is being worked on."""
    asked = asyncio.create_task(together.do(number))
    while [number] not in work.groups:
        await asyncio.sleep(0)
    return asked


async def test_who_comes_meanwhile_is_the_next_group():
    work = Work(is_open=False)
    together = Together(work, lambda _: None)
    first = [await begin(work, together, number) for number in range(AT_ONCE)]
    others = [asyncio.create_task(together.do(number)) for number in (7, 8, 9)]
    await asyncio.sleep(0)
    work.gate.set()
    assert await asyncio.gather(*first, *others) == [0, 2, 14, 16, 18]
    assert work.groups == [[0], [1], [7, 8, 9]]


async def test_group_is_no_larger_than_allowed():
    work = Work()
    together = Together(work, lambda _: None)
    assert await asyncio.gather(*(together.do(number + 1000) for number in range(MOST + 1)))
    assert [len(group) for group in work.groups] == [MOST, 1]


async def test_different_kinds_go_apart_and_do_not_wait_for_each_other():
    work = Work(is_open=False)
    together = Together(work, lambda number: number % 2)
    asked = [asyncio.create_task(together.do(number)) for number in (1, 2, 3)]
    while len(work.groups) < 2:
        await asyncio.sleep(0)
    work.gate.set()
    assert await asyncio.gather(*asked) == [2, 4, 6]
    assert sorted(work.groups) == [[1, 3], [2]]


async def test_only_who_is_wrong_fails():
    together = Together(Work(), lambda _: None)
    answers = await asyncio.gather(*(together.do(number) for number in (1, 13, 2)), return_exceptions=True)
    assert [answers[0], answers[2]] == [2, 4]
    assert isinstance(answers[1], ValueError)


async def test_lost_database_is_told_to_all_and_not_asked_again():
    work = Work()
    together = Together(work, lambda _: None)
    answers = await asyncio.gather(*(together.do(number) for number in (1, 503)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable, Unavailable]
    assert work.groups == [[1, 503]]


async def test_who_has_left_is_left_out():
    work = Work(is_open=False)
    together = Together(work, lambda _: None)
    first = [await begin(work, together, number) for number in range(AT_ONCE)]
    late, gone = (asyncio.create_task(together.do(number)) for number in (7, 8))
    await asyncio.sleep(0)
    gone.cancel()
    work.gate.set()
    assert await asyncio.gather(*first, late) == [0, 2, 14]
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert work.groups == [[0], [1], [7]]
