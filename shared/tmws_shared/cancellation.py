"""Loops that end when they are cancelled, even where a library turns the cancellation into another error."""

from __future__ import annotations

import asyncio


def is_cancelled() -> bool:
    """Whether the current task was asked to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
