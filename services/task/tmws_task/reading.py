"""A task's history, comments and graph."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from operator import itemgetter
from typing import Any
from uuid import UUID

from tmws_contracts.task_history import NewComment
from tmws_shared.auth import Principal
from tmws_shared.clock import new_id
from tmws_shared.database import Connection, Database, Row
from tmws_shared.idempotency import Attempt, Reply, do_once
from tmws_shared.pagination import Cursors
from tmws_task.changes import author_of
from tmws_task.errors import TaskNotFound
from tmws_task.repository.graph import GraphRepository
from tmws_task.repository.history import HistoryRepository
from tmws_task.repository.views import dump

ReadPage = Callable[[HistoryRepository, list[str] | None, int], Awaitable[list[Row]]]


class HistoryService:
    """What happened to tasks and what hangs on them; a caller sees only its own namespace's."""

    def __init__(self, database: Database, cursors: Cursors) -> None:
        self._database = database
        self._cursors = cursors

    async def events(self, caller: Principal, task_id: UUID, cursor: str | None, limit: int) -> bytes:
        """Return a page of the task's history as JSON.

        Raises:
            TaskNotFound: there is no such task.
            MalformedRequest: the cursor belongs to another list.
        """
        return await self._page("events", HistoryRepository.events, caller, task_id, cursor, limit)

    async def comments(self, caller: Principal, task_id: UUID, cursor: str | None, limit: int) -> bytes:
        """Return a page of the task's comments as JSON.

        Raises:
            TaskNotFound: there is no such task.
            MalformedRequest: the cursor belongs to another list.
        """
        return await self._page("comments", HistoryRepository.comments, caller, task_id, cursor, limit)

    async def say(self, caller: Principal, task_id: UUID, comment: NewComment, attempt: Attempt) -> Reply:
        """Add a comment.

        Raises:
            TaskNotFound: there is no such task.
        """

        async def work(connection: Connection) -> Reply:
            history = HistoryRepository(connection, caller.namespace, task_id)
            said = await history.say(new_id(), author_of(caller), comment.body)
            if said is None:
                raise TaskNotFound
            return Reply(201, dump(said))

        return await do_once(self._database, attempt, work)

    async def graph(self, caller: Principal, task_id: UUID, depth: int, limit: int) -> bytes:
        """Return the graph around a task as JSON (see TaskGraph).

        Raises:
            TaskNotFound: there is no such task.
        """
        async with self._database.connection() as connection:
            graph = await GraphRepository(connection, caller.namespace).around(task_id, depth, limit)
        if graph is None:
            raise TaskNotFound
        return dump(graph)

    async def _page(
        self, name: str, read: ReadPage, caller: Principal, task_id: UUID, cursor: str | None, limit: int
    ) -> bytes:
        context: dict[str, Any] = {"list": name, "namespace": caller.namespace, "task": task_id}
        after = self._cursors.decode(cursor, **context)
        async with self._database.connection() as connection:
            rows = await read(await _history(connection, caller, task_id), after, limit + 1)
        shown, next_cursor = self._cursors.cut(rows, limit, itemgetter("position"), **context)
        items = [{key: value for key, value in row.items() if key != "position"} for row in shown]
        return dump({"items": items, "next_cursor": next_cursor})


async def _history(connection: Connection, caller: Principal, task_id: UUID) -> HistoryRepository:
    history = HistoryRepository(connection, caller.namespace, task_id)
    if not await history.is_there():
        raise TaskNotFound
    return history
