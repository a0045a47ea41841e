"""SQL of how many tasks a persona has."""

from __future__ import annotations

from typing import Any, Final

from tmws_contracts.persona_figures import PersonaTasks
from tmws_contracts.task import TaskStatus
from tmws_shared.database import Connection
from tmws_task.repository.views import OPEN, OVERDUE, READY

_BY_STATUS: Final = ", ".join(f"count(*) FILTER (WHERE t.status = '{status}') AS {status}" for status in TaskStatus)
# The execution whose step has made a task; metadata are anybody's, so that anything may be there.
_ORIGIN: Final = "t.metadata #> '{workflow,execution_id}'"
_COUNT: Final = f"""
    SELECT {_BY_STATUS}, count(*) FILTER (WHERE {READY}) AS ready, count(*) FILTER (WHERE {OVERDUE}) AS overdue,
           count(*) FILTER (WHERE t.status = 'completed' AND t.updated_at > now() - interval '7 days')
               AS completed_lately,
           count(DISTINCT {_ORIGIN}) FILTER (WHERE {OPEN} AND jsonb_typeof({_ORIGIN}) = 'string') AS executions_waiting
    FROM tasks t WHERE t.namespace = $1 AND (t.assigned_persona = $2 OR t.claimed_by = $2)
"""  # noqa: S608 -- our own fragments


async def count_for_persona(connection: Connection, namespace: str, persona_id: str) -> PersonaTasks:
    """Count the tasks of a namespace that are assigned to a persona, or that were claimed in its name."""
    row: Any = await connection.fetchrow(_COUNT, namespace, persona_id)
    by_status = {status: row[status.value] for status in TaskStatus}
    others = {name: row[name] for name in ("ready", "overdue", "completed_lately", "executions_waiting")}
    return PersonaTasks(by_status=by_status, **others)
