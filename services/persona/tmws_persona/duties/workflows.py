"""Workflows that run and that stand still: the duty of who orchestrates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tmws_contracts.common import JsonObject
from tmws_contracts.diagnosis import Verdict
from tmws_contracts.persona_wake_up import Entry, Section
from tmws_persona.asking import Asking, together
from tmws_persona.entries import execution_entry, section, section_of
from tmws_persona.errors import PartMissing

EXECUTIONS: Final = "/api/v1/executions"
WORKFLOWS: Final = "/api/v1/workflows"
# Who knows why they stand still has to be asked for each of them.
DIAGNOSED: Final = 12
SHOWN: Final = 8
SHOWN_FAILED: Final = 5
OPEN: Final = ("running", "pending", "paused", "cancelling")
MOVING: Final = frozenset(
    {Verdict.RUNNING, Verdict.QUEUED, Verdict.RETRYING, Verdict.WAITING_FOR_TIME, Verdict.FINISHED}
)
UNNAMED: Final = "a workflow"


async def report(asking: Asking) -> list[Section]:
    """Return the open executions with their verdicts, those that stand still first, and the latest failures."""
    found, failed = await together(
        asking.list("workflow", EXECUTIONS, status=OPEN),
        asking.list("workflow", EXECUTIONS, status=("failed", "timed_out"), limit=SHOWN_FAILED),
    )
    # The list begins with the newest, and those that stand still are old.
    looked_at = found.items[-DIAGNOSED:]
    names = await names_of(asking, (one["workflow_id"] for one in [*looked_at, *failed.items]))
    diagnoses = await together(*(_diagnosis(asking, one["id"]) for one in looked_at))
    still, moving = _sorted(looked_at, diagnoses, names)
    left_off = len(found.items) - len(looked_at)
    return [
        section("standing_still", "Executions that stand still", still, shown=SHOWN),
        section(
            "running", "Executions that run", moving, shown=SHOWN, is_more_at_least=found.is_cut, left_off=left_off
        ),
        section_of(
            "failed", "Executions that failed last", failed, lambda one: _failed(one, names), shown=SHOWN_FAILED
        ),
    ]


async def names_of(asking: Asking, workflow_ids: Iterable[str]) -> dict[str, str]:
    """Return the names of workflows by id; one that was deleted meanwhile has none."""
    wanted = list(dict.fromkeys(workflow_ids))
    found = await together(*(_name(asking, workflow_id) for workflow_id in wanted))
    return {workflow_id: name for workflow_id, name in zip(wanted, found, strict=True) if name}


async def _name(asking: Asking, workflow_id: str) -> str | None:
    try:
        return (await asking.get("workflow", f"{WORKFLOWS}/{workflow_id}"))["name"]
    except PartMissing:
        return None


async def _diagnosis(asking: Asking, execution_id: str) -> JsonObject | None:
    try:
        return await asking.get("workflow", f"{EXECUTIONS}/{execution_id}/diagnosis")
    except PartMissing:
        return None


def _sorted(
    executions: list[JsonObject], diagnoses: list[JsonObject | None], names: dict[str, str]
) -> tuple[list[Entry], list[Entry]]:
    """Those that stand still, longest first, and those that move, newest first."""
    still: list[Entry] = []
    moving: list[Entry] = []
    for execution, diagnosis in zip(executions, diagnoses, strict=True):
        name = names.get(execution["workflow_id"], UNNAMED)
        if diagnosis is None:
            moving.append(execution_entry(execution, name, "there is no diagnosis now"))
            continue
        facts = {"verdict": diagnosis["verdict"], "since": diagnosis["since"]}
        entry = execution_entry(execution, name, diagnosis["summary"], **facts)
        (moving if diagnosis["verdict"] in MOVING else still).append(entry)
    return sorted(still, key=lambda entry: str(entry.facts["since"])), moving


def _failed(execution: JsonObject, names: dict[str, str]) -> Entry:
    error: JsonObject = execution["error"] or {}
    about = f"{error.get('code', 'failed')}: {error.get('message', '')}"
    return execution_entry(
        execution,
        names.get(execution["workflow_id"], UNNAMED),
        about,
        step=error.get("step"),
        finished_at=execution["finished_at"],
    )
