"""SQL of finding and counting tasks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from tmws_contracts.common import Priority
from tmws_contracts.task import TaskStatus
from tmws_shared.database import Connection, Row
from tmws_shared.pagination import Conditions, Keyset
from tmws_shared.tallies import Tally
from tmws_task.repository.views import BLOCKED, OVERDUE, READY, VIEW

_FINISHED: Final = """
    SELECT status::text, sum(tasks)::bigint AS tasks FROM (
        SELECT status, tasks FROM task_counts WHERE namespace = $1
        UNION ALL SELECT status, tasks FROM task_count_changes WHERE namespace = $1) c GROUP BY status
"""
_OPEN: Final = """
    SELECT status::text, count(*) AS tasks, count(*) FILTER (WHERE status = 'pending' AND unmet = 0) AS ready,
           count(*) FILTER (WHERE due_at < now()) AS overdue
    FROM tasks WHERE namespace = $1 AND status IN ('pending', 'in_progress', 'input_required') GROUP BY status
"""
TALLY: Final = Tally("task_counts", "task_count_changes", ("namespace", "status"), ("tasks",))


class TaskOrder(StrEnum):
    """In which order tasks are listed; `urgency` is that of claims."""

    NEWEST = "newest"
    OLDEST = "oldest"
    URGENCY = "urgency"
    PRIORITY = "priority"
    DUE = "due"
    UPDATED = "updated"


_RANK: Final = "CASE t.priority WHEN 'urgent' THEN 0 WHEN 'high' THEN 1 WHEN 'medium' THEN 2 ELSE 3 END"
_MADE, _ID = ("t.created_at", "timestamptz"), ("t.id", "uuid")
_ORDERS: Final = {
    TaskOrder.NEWEST: Keyset((_MADE, _ID), descending=True),
    TaskOrder.OLDEST: Keyset((_MADE, _ID)),
    TaskOrder.URGENCY: Keyset((("t.turn", "double precision"), _ID)),
    TaskOrder.PRIORITY: Keyset(((_RANK, "integer"), _MADE, _ID)),
    TaskOrder.DUE: Keyset((("coalesce(t.due_at, 'infinity')", "timestamptz"), _ID)),
    TaskOrder.UPDATED: Keyset((("t.updated_at", "timestamptz"), _ID), descending=True),
}


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks to list; None and empty mean any."""

    status: Sequence[TaskStatus] = ()
    priority: Priority | None = None
    assigned_persona: str | None = None
    label: str | None = None
    parent_id: UUID | None = None
    claimed_by: str | None = None
    q: str | None = None
    ready: bool | None = None
    blocked: bool | None = None
    overdue: bool | None = None
    due_before: datetime | None = None
    updated_since: datetime | None = None
    order: TaskOrder = TaskOrder.NEWEST


# Scripts without spaces between words, which the database's parser takes for one long word.
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]"
)
_OPERATOR: Final = re.compile(r"[\"-]|\bor\b", re.IGNORECASE)
_WORD: Final = re.compile(r"\w+")


def _add_words(where: Conditions, query: str) -> None:
    """Add the condition of a query: words, "phrases", -without, or; the last of plain words may be a beginning."""
    if _UNSPACED.search(query):
        for part in query.split():
            where.add("position(lower({}) IN lower(concat_ws(' ', t.title, t.description, t.labels::text))) > 0", part)
        return
    words = _WORD.findall(query)
    if not words or _OPERATOR.search(query):
        where.add("t.words @@ websearch_to_tsquery('simple', {})", query)
        return
    where.add("t.words @@ to_tsquery('simple', {})", " & ".join(words) + ":*")


class TaskLists:
    """Finds and counts the tasks of one namespace, through one connection."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    async def page(self, wanted: TaskFilter, after: list[str] | None, limit: int) -> list[Row]:
        """Return the views of up to `limit` tasks after a position, each with its own `position`."""
        keyset = _ORDERS[wanted.order]
        where = self._conditions(wanted)
        where.add_given(keyset.beyond("{}"), after)
        where.values.append(limit)
        sql = f"""SELECT {VIEW}, {keyset.position} AS position FROM tasks t WHERE t.namespace = $1 {where.sql()}
            ORDER BY {keyset.order_by} LIMIT ${len(where.values)}"""  # noqa: S608 -- fragments of this file, values are bound
        return await self._connection.fetch(sql, *where.values)

    def _conditions(self, wanted: TaskFilter) -> Conditions:
        where = Conditions(self._namespace)
        where.add_given("t.status = ANY({}::text[]::task_status[])", list(wanted.status) or None)
        where.add_given("t.priority = {}::text::task_priority", wanted.priority)
        where.add_given("t.assigned_persona = {}", wanted.assigned_persona)
        where.add_given("t.labels @> ARRAY[{}::text]", wanted.label)
        where.add_given("t.parent_id = {}", wanted.parent_id)
        where.add_given("t.claimed_by = {}", wanted.claimed_by)
        for state, is_wanted in ((READY, wanted.ready), (BLOCKED, wanted.blocked), (OVERDUE, wanted.overdue)):
            if is_wanted is not None:
                where.add(state if is_wanted else f"NOT {state}")
        where.add_given("t.due_at < {}", wanted.due_before)
        where.add_given("t.updated_at >= {}", wanted.updated_since)
        if wanted.q is not None:
            _add_words(where, wanted.q)
        return where

    async def counts(self) -> tuple[list[Row], list[Row]]:
        """Return (status, tasks) of the finished ones, and (status, tasks, ready, overdue) of the open ones."""
        open_ones = await self._connection.fetch(_OPEN, self._namespace)
        return await self._connection.fetch(_FINISHED, self._namespace), open_ones
