"""Requests that come while others of their kind are on their way go together: one statement and one commit for all."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final, Generic, TypeVar, cast

from tmws_shared.problems import Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

# A larger group would keep its first member waiting for no gain.
MOST: Final = 64
# While one group waits for the disk, the next one is worked on.
AT_ONCE: Final = 2


class Together(Generic[Item, Result]):
    """Gives `work` the items of one kind in groups, two groups of a kind at a time, and each asker its own result.

    Nobody waits for company: whoever comes first goes alone, and those who come meanwhile are the next group. `work`
    returns a result for each item, in their order.
    """

    def __init__(
        self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], kind: Callable[[Item], Hashable]
    ) -> None:
        self._work = work
        self._kind = kind
        self._waiting: defaultdict[Hashable, list[tuple[Item, asyncio.Future[Result]]]] = defaultdict(list)
        self._running: defaultdict[Hashable, set[asyncio.Task[None]]] = defaultdict(set)

    async def do(self, item: Item) -> Result:
        """Return the item's result; what goes wrong with it is raised here, and concerns no other item."""
        kind = self._kind(item)
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting[kind].append((item, result))
        running = self._running[kind]
        if len(running) < AT_ONCE:
            running.add(asyncio.create_task(self._run(kind)))
        return await result

    async def _run(self, kind: Hashable) -> None:
        """Work on a kind until nobody waits."""
        try:
            while waiting := self._waiting.pop(kind, None):
                group, rest = waiting[:MOST], waiting[MOST:]
                if rest:
                    self._waiting[kind] = rest
                # Who has gone meanwhile wants nothing any more.
                await self._work_on([member for member in group if not member[1].done()])
        finally:
            running = self._running[kind]
            running.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            if not running:
                del self._running[kind]

    async def _work_on(self, group: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        if not group:
            return
        try:
            results = await self._work([item for item, _ in group])
        except Exception as error:  # noqa: BLE001 -- it is raised where it belongs
            await self._blame(group, error)
            return
        for (_, asked), result in zip(group, results, strict=True):
            if not asked.done():
                asked.set_result(result)

    async def _blame(self, group: Sequence[tuple[Item, asyncio.Future[Result]]], error: Exception) -> None:
        """Find out whose fault it was: one by one only those fail that are wrong. A lost database is nobody's."""
        if len(group) == 1 or isinstance(error, Unavailable):
            for _, asked in group:
                if not asked.done():
                    asked.set_exception(error)
            return
        for member in group:
            await self._work_on([member])
