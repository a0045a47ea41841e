"""Requests that come while others of their kind are on their way go together: one statement and one commit for all."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final, Generic, TypeVar

from tmws_shared.problems import Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

# A larger group would keep its first member waiting for no gain.
MOST: Final = 64


class Together(Generic[Item, Result]):
    """Gives `work` the items of one kind in groups, one group of a kind at a time, and each asker its own result.

    Nobody waits for company: whoever comes first goes alone, and those who come meanwhile are the next group. `work`
    returns a result for each item, in their order.
    """

    def __init__(
        self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], kind: Callable[[Item], Hashable]
    ) -> None:
        self._work = work
        self._kind = kind
        self._waiting: defaultdict[Hashable, list[tuple[Item, asyncio.Future[Result]]]] = defaultdict(list)
        self._running: dict[Hashable, asyncio.Task[None]] = {}

    async def do(self, item: Item) -> Result:
        """Return the item's result; what goes wrong with it is raised here, and concerns no other item."""
        kind = self._kind(item)
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting[kind].append((item, result))
        if kind not in self._running:
            self._running[kind] = asyncio.create_task(self._run(kind))
        return await result

    async def _run(self, kind: Hashable) -> None:
        """Work on a kind until nobody waits."""
        try:
            while waiting := self._waiting[kind]:
                group, self._waiting[kind] = waiting[:MOST], waiting[MOST:]
                # Who has gone meanwhile wants nothing any more.
                await self._work_on([member for member in group if not member[1].done()])
        finally:
            del self._waiting[kind], self._running[kind]

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
