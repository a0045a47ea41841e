"""Loops: restarted when they fail, ended when cancelled."""

import asyncio

import pytest

from tmws_shared import background
from tmws_shared.background import keep_running


async def test_failed_loop_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "RESTART_S", 0)
    starts: list[int] = []

    async def loop() -> None:
        starts.append(1)
        if len(starts) < 3:
            raise RuntimeError("not yet")

    await asyncio.wait_for(keep_running("test", loop), 5)
    assert len(starts) == 3


async def test_loop_whose_clean_up_fails_ends_when_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "RESTART_S", 0)

    async def loop() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise RuntimeError("in place of the cancellation")

    task = asyncio.create_task(keep_running("test", loop))
    await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=5)
    assert done == {task}
