"""A workflow worker that dies at its n-th boundary: right before or right after something becomes durable.

Run as a program, with the settings of a worker and `DIE_AT`. Boundaries are numbered from 0 in the order in
which this process reaches them; even ones lie before a write, odd ones after it. One that gets further lives on.
"""

# asyncpg has no type stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import os
import re
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from support.workflow_engine import BRISK
from tmws_shared.app import serve
from tmws_workflow.settings import WorkflowSettings
from tmws_workflow.worker import build

EXIT_CODE = 86
_WRITES = re.compile(r"\b(INSERT|UPDATE|DELETE|COMMIT)\b", re.IGNORECASE)


class Boundaries:
    """Counts boundaries, and dies at one."""

    def __init__(self, die_at: int) -> None:
        self._left = die_at

    def cross(self) -> None:
        """Come to the next boundary; nothing is flushed, closed or told when it is the last."""
        if self._left == 0:
            os._exit(EXIT_CODE)
        self._left -= 1


def watch(boundaries: Boundaries) -> None:
    """Put a boundary before and after every statement that writes, and every commit."""
    for name in ("_do_execute", "execute"):
        setattr(asyncpg.Connection, name, _watched(getattr(asyncpg.Connection, name), boundaries))


def _watched(run: Callable[..., Awaitable[Any]], boundaries: Boundaries) -> Callable[..., Awaitable[Any]]:
    async def watched(connection: Any, query: str, *args: Any, **kwargs: Any) -> Any:
        # `execute` with arguments goes through `_do_execute`, which counts it.
        is_counted = _WRITES.search(query) is not None and (run.__name__ != "execute" or not args)
        if is_counted:
            boundaries.cross()
        result = await run(connection, query, *args, **kwargs)
        if is_counted:
            boundaries.cross()
        return result

    return watched


if __name__ == "__main__":
    watch(Boundaries(int(os.environ["DIE_AT"])))
    serve("workflow-worker", WorkflowSettings, lambda settings: build(settings, BRISK))
