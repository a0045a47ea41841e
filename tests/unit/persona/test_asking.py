"""Asking several things at once."""

import asyncio

import pytest

from tmws_contracts.persona_wake_up import Reason
from tmws_persona.asking import Asking, together
from tmws_persona.errors import PartMissing
from tmws_shared.auth import Principal


async def refuse() -> int:
    raise PartMissing(Reason.FORBIDDEN, "No.")


async def test_answers_come_in_the_order_of_the_questions() -> None:
    async def answer(number: int) -> int:
        await asyncio.sleep(0.01 / number)
        return number

    assert await together(answer(1), answer(2), answer(3)) == [1, 2, 3]


async def test_when_one_fails_the_others_are_ended() -> None:
    ended = asyncio.Event()

    async def hang() -> int:
        try:
            return await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(PartMissing):
        await together(hang(), refuse())
    assert ended.is_set()


async def test_part_that_is_missing_is_noted() -> None:
    asking = Asking({}, Principal("ada"), "athena")
    assert await asking.part("memories", refuse()) is None
    (gap,) = asking.missing
    assert (gap.part, gap.reason, gap.detail) == ("memories", Reason.FORBIDDEN, "No.")
