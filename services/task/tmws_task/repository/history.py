"""SQL of what was done and said about a task."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from tmws_shared.database import Connection, Row
from tmws_shared.pagination import Conditions, Keyset
from tmws_task.repository.tasks import Author

_IS_THERE: Final = "SELECT true FROM tasks WHERE namespace = $1 AND id = $2"
_EVENT: Final = """
    e.version, e.action, e.author, e.persona, e.from_status::text AS from_status, e.to_status::text AS to_status,
    e.agent, e.note, e.changes, e.at
"""
_COMMENT: Final = """
    c.id::text AS id, c.task_id::text AS task_id, c.author, c.persona, c.body, c.created_at
"""
_EVENTS: Final = Keyset((("e.id", "bigint"),))
_COMMENTS: Final = Keyset((("c.id", "uuid"),))
_SAY: Final = f"""
    INSERT INTO task_comments AS c (id, task_id, author, persona, body)
    SELECT $3, id, $4, $5, $6 FROM tasks WHERE namespace = $1 AND id = $2 FOR KEY SHARE
    RETURNING {_COMMENT}
"""  # noqa: S608 -- our own columns


class HistoryRepository:
    """The history and comments of one task, through one connection."""

    def __init__(self, connection: Connection, namespace: str, task_id: UUID) -> None:
        self._connection = connection
        self._namespace = namespace
        self._task_id = task_id

    async def is_there(self) -> bool:
        """Whether the namespace has such a task."""
        return bool(await self._connection.fetchval(_IS_THERE, self._namespace, self._task_id))

    async def events(self, after: list[str] | None, limit: int) -> list[Row]:
        """Return up to `limit` events after a position, oldest first, each with its own `position`."""
        what = f"{_EVENT}, {_EVENTS.position} AS position FROM task_events e"
        return await self._page(what, _EVENTS, after, limit)

    async def comments(self, after: list[str] | None, limit: int) -> list[Row]:
        """Return up to `limit` comments after a position, oldest first, each with its own `position`."""
        what = f"{_COMMENT}, {_COMMENTS.position} AS position FROM task_comments c"
        return await self._page(what, _COMMENTS, after, limit)

    async def say(self, comment_id: UUID, author: Author, body: str) -> dict[str, Any] | None:
        """Add a comment and return it, or None when there is no such task."""
        values = (comment_id, author.name, author.persona, body)
        row = await self._connection.fetchrow(_SAY, self._namespace, self._task_id, *values)
        return None if row is None else dict(row)

    async def _page(self, what: str, keyset: Keyset, after: list[str] | None, limit: int) -> list[Row]:
        where = Conditions(self._task_id)
        where.add_given(keyset.beyond("{}"), after)
        where.values.append(limit)
        sql = f"""SELECT {what} WHERE task_id = $1 {where.sql()}
            ORDER BY {keyset.order_by} LIMIT ${len(where.values)}"""
        return await self._connection.fetch(sql, *where.values)
