"""Changing executions from outside: locked, read, changed by a function of the engine, and written back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from uuid import UUID

from tmws_shared.database import Connection
from tmws_workflow.engine import Advance
from tmws_workflow.plans import Plans
from tmws_workflow.repository.journal import Journal


async def change_executions(
    connection: Connection, plans: Plans, execution_ids: Iterable[UUID], change: Callable[[Advance], bool]
) -> list[Advance]:
    """Change executions, whose open steps `change` is shown, in the caller's transaction; return those that changed."""
    journal = Journal(connection)
    locked = await journal.lock(execution_ids)
    planned = await plans.of_executions(connection, locked.versions)
    steps = await journal.steps([], list(locked.states))
    undoable = [key for key, plan in planned.items() if plan.can_undo]
    completed = await journal.completed(undoable) if undoable else {}
    advances = [
        Advance(state, steps.get(key, {}), planned[key], completed=completed.get(key, ()))
        for key, state in locked.states.items()
    ]
    changed = [advance for advance in advances if change(advance)]
    await journal.write(locked, changed, lease_s=0)
    return changed


async def change_whole(
    connection: Connection, plans: Plans, execution_id: UUID, change: Callable[[Advance], bool]
) -> bool:
    """Change one execution, all of whose steps `change` is shown; return whether it changed."""
    journal = Journal(connection)
    locked = await journal.lock([execution_id])
    planned = await plans.of_executions(connection, locked.versions)
    advance = Advance(locked.states[execution_id], await journal.all_steps(execution_id), planned[execution_id])
    if not change(advance):
        return False
    await journal.write(locked, [advance], lease_s=0)
    return True
