"""Entries of lists, from what the services answer (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from tmws_contracts.common import JsonObject
from tmws_contracts.persona_wake_up import Entry, EntryKind, Fact, Section
from tmws_persona.asking import Found
from tmws_shared.fencing import excerpt, label

TITLE_CHARS: Final = 160
MEMORY_CHARS: Final = 240


def section(
    name: str, title: str, entries: Sequence[Entry], *, shown: int, is_more_at_least: bool = False, left_off: int = 0
) -> Section:
    """Return a section of the first `shown` entries; `left_off` more were found and not made entries."""
    return Section(
        name=name,
        title=title,
        items=list(entries[:shown]),
        more=max(0, len(entries) - shown) + left_off,
        is_more_at_least=is_more_at_least,
    )


def section_of(name: str, title: str, found: Found, make: Callable[[JsonObject], Entry], *, shown: int) -> Section:
    """Return a section of what a list has."""
    entries = [make(item) for item in found.items[:shown]]
    left_off = len(found.items) - len(entries)
    return section(name, title, entries, shown=shown, is_more_at_least=found.is_cut, left_off=left_off)


def facts_of(**facts: Any) -> dict[str, Fact]:
    """Return the facts that there are, without what is null or false; names cannot break out of their line."""
    known = {name: value for name, value in facts.items() if value is not None and value is not False}
    return {name: label(value) if isinstance(value, str) else value for name, value in known.items()}


def moment(text: str | None) -> datetime | None:
    """Return a time as a service writes it."""
    return None if text is None else datetime.fromisoformat(text)


def task_entry(task: JsonObject, **more: Any) -> Entry:
    """Return a task as an entry."""
    said = task["title"] if task["status"] != "input_required" else f"{task['title']} -- asks: {task['question']}"
    facts = facts_of(
        status=task["status"] if task["status"] != "pending" else None,
        priority=task["effective_priority"] if task["effective_priority"] != "medium" else None,
        progress=task["progress"] or None,
        overdue=task["overdue"],
        due_at=task["due_at"],
        claimed_by=task["claimed_by"] if task["status"] == "in_progress" else None,
        lease_until=task["lease_until"],
        assigned_persona=task["assigned_persona"],
        **more,
    )
    return Entry(
        kind=EntryKind.TASK,
        id=task["id"],
        said=excerpt(said, TITLE_CHARS),
        source="the task board",
        at=moment(task["updated_at"]),
        facts=facts,
        path=f"/api/v1/tasks/{task['id']}",
    )


def memory_entry(memory: JsonObject, **more: Any) -> Entry:
    """Return a memory as an entry."""
    private = memory["visibility"] == "private"
    facts = facts_of(
        importance=round(memory["importance"], 2), private=private, tags=", ".join(memory["tags"]) or None,
        expires_at=memory["expires_at"], **more,
    )  # fmt: skip
    return Entry(
        kind=EntryKind.MEMORY,
        id=memory["id"],
        said=excerpt(memory["content"], MEMORY_CHARS),
        source=label(memory["source"]),
        at=moment(memory["occurred_at"] or memory["created_at"]),
        facts=facts,
        path=f"/api/v1/memory/{memory['id']}",
    )


def approval_entry(approval: JsonObject) -> Entry:
    """Return an approval as an entry; its digest has who reads the whole of it."""
    facts = facts_of(
        step=approval["step"],
        execution_id=approval["execution_id"],
        expires_at=approval["expires_at"],
        for_anybody=approval["approvers"] is None,
    )
    return Entry(
        kind=EntryKind.APPROVAL,
        id=approval["id"],
        said=excerpt(approval["prompt"], TITLE_CHARS),
        source=label(approval["requested_by"]),
        at=moment(approval["created_at"]),
        facts=facts,
        path=f"/api/v1/approvals/{approval['id']}",
    )


def execution_entry(execution: JsonObject, workflow: str, about: str, **more: Any) -> Entry:
    """Return an execution as an entry: the workflow's name, and what it is about."""
    return Entry(
        kind=EntryKind.EXECUTION,
        id=execution["id"],
        said=excerpt(f"{workflow}: {about}", TITLE_CHARS * 2),
        source=label(execution["started_by"]),
        at=moment(execution["started_at"] or execution["created_at"]),
        facts=facts_of(status=execution["status"], progress=execution["progress"], **more),
        path=f"/api/v1/executions/{execution['id']}/diagnosis",
    )


def workflow_entry(workflow: JsonObject) -> Entry:
    """Return a definition as an entry."""
    steps: Any = workflow["config"].get("steps", [])
    facts = facts_of(
        type=workflow["workflow_type"],
        steps=len(steps),
        definition=workflow["config_version"],
        last_run=workflow["status"] if workflow["execution_id"] else "never",
    )
    return Entry(
        kind=EntryKind.WORKFLOW,
        id=workflow["id"],
        said=excerpt(workflow["name"], TITLE_CHARS),
        source="the workflows",
        at=moment(workflow["updated_at"]),
        facts=facts,
        path=f"/api/v1/workflows/{workflow['id']}",
    )


def schedule_entry(schedule: JsonObject, workflow: str) -> Entry:
    """Return a schedule as an entry."""
    last: Mapping[str, Any] = schedule["last_fire"] or {}
    fires: Sequence[str] = schedule["next_fires"]
    facts = facts_of(
        cron=f"{schedule['cron']} {schedule['timezone']}",
        next_fire=fires[0] if fires else None,
        paused=schedule["is_paused"],
        last_fire=last.get("fire_time"),
        last_result=last.get("result"),
    )
    return Entry(
        kind=EntryKind.SCHEDULE,
        id=schedule["id"],
        said=excerpt(workflow, TITLE_CHARS),
        source=label(schedule["runs_as"]),
        at=moment(schedule["updated_at"]),
        facts=facts,
        path=f"/api/v1/workflows/{schedule['workflow_id']}/schedules/{schedule['id']}",
    )


def duplicates_entry(cluster: JsonObject) -> Entry:
    """Return near duplicates as an entry: what the one says that a consolidation would keep."""
    members: list[JsonObject] = cluster["memories"]
    keep = next((member for member in members if member["id"] == cluster["keep"]), members[0])
    alike = max((pair["similarity"] for pair in cluster["pairs"]), default=None)
    facts = facts_of(
        memories=len(members),
        similarity=None if alike is None else round(alike, 3),
        others=", ".join(member["id"] for member in members if member is not keep),
    )
    return Entry(
        kind=EntryKind.DUPLICATES,
        id=keep["id"],
        said=excerpt(keep["excerpt"], TITLE_CHARS),
        source="the memory",
        at=moment(keep["created_at"]),
        facts=facts,
        path=f"/api/v1/memory/{keep['id']}",
    )


def without(items: Iterable[JsonObject], seen: set[str]) -> list[JsonObject]:
    """Return the items that were not seen yet, and note them as seen."""
    fresh = [item for item in items if item["id"] not in seen]
    seen.update(item["id"] for item in fresh)
    return fresh
