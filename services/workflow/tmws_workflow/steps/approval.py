"""`approval`: waits until a person has decided on exactly what is shown."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, cast
from uuid import UUID

import orjson

from tmws_contracts.approvals import ApprovalStatus
from tmws_contracts.common import check_document, is_slug
from tmws_shared.clock import new_id
from tmws_shared.events import append_event
from tmws_workflow.durations import duration_problem, parse_duration
from tmws_workflow.engine import Completed, Failed, Outcome, Waits
from tmws_workflow.repository.approvals import (
    Asking,
    NewApproval,
    asking,
    outcome_of,
    request_approval,
    withdraw_approval,
)
from tmws_workflow.steps.base import SERVICE_RETRY, Argument, Simple, StepCall, Wait, refuse_arguments, type_problems
from tmws_workflow.templates import Text

MAX_PROMPT_CHARS = 4_096
MAX_SHOWN_BYTES = 256 * 1024
MAX_APPROVERS = 50
# A decision makes the step be looked at; this is for one that nobody announced.
LOOK_IN_S = 3600.0


class Approval(Simple):
    """Asks for a decision; its output is `{approved, by, comment, at}`, `by` null when nobody decided in time."""

    uses = "approval"
    arguments = {
        "prompt": Argument((str,), is_required=True),
        "show": Argument((object, bool, str)),
        "approvers": Argument((list,)),
        "allow_self": Argument((bool,)),
        "expires_in": Argument((str,)),
    }
    retry = SERVICE_RETRY

    def check(self, arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Check what is literal."""
        found = {
            name: _CHECKS[name](value) for name, value in arguments.items() if name in _CHECKS and value is not None
        }
        return [(name, detail) for name, detail in found.items() if detail]

    async def start(self, call: StepCall) -> Outcome:
        """Ask, once however often the step is tried."""
        refuse_arguments(type_problems(call.arguments, self.arguments) or self.check(call.arguments))
        expires_in = call.arguments.get("expires_in")
        expires_in_s = None if expires_in is None else parse_duration(expires_in)
        async with call.services.database.transaction() as connection:
            asked = await asking(connection, call.execution_id, call.path)
            approval_id, is_new = await request_approval(connection, asked, _approval(call, asked, expires_in_s))
            if is_new:
                data = {"execution_id": str(call.execution_id), "step": call.path}
                await append_event(connection, "approval.requested", asked.namespace, str(approval_id), data)
        return Waits(f"approval:{approval_id}", LOOK_IN_S if expires_in_s is None else expires_in_s)

    async def look(self, wait: Wait) -> Outcome | None:
        """Return the decision, if there is one."""
        async with wait.services.database.transaction() as connection:
            row = await outcome_of(connection, UUID(wait.subject))
        status = ApprovalStatus.WITHDRAWN if row is None else ApprovalStatus(row["status"])
        if row is None or status is ApprovalStatus.WITHDRAWN:
            return Failed({"code": "approval_withdrawn", "message": "The approval was withdrawn."})
        if status is ApprovalStatus.PENDING:
            return None
        return Completed(
            {
                "approved": status is ApprovalStatus.APPROVED,
                "by": row["decided_by"],
                "comment": row["comment"],
                "at": row["decided_at"].isoformat(),
            }
        )

    async def withdraw(self, wait: Wait) -> None:
        """Take the question back."""
        async with wait.services.database.transaction() as connection:
            await withdraw_approval(connection, UUID(wait.subject))


def digest_of(asked: Asking, execution_id: UUID, step: str, prompt: str, show: Any) -> str:
    """Return the SHA-256, in hex, of what is to be approved, as JSON without spaces whose keys are sorted."""
    document = {
        "workflow_id": str(asked.workflow_id),
        "workflow_version": asked.workflow_version,
        "execution_id": str(execution_id),
        "step": step,
        "prompt": prompt,
        "show": show,
    }
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _approval(call: StepCall, asked: Asking, expires_in_s: float | None) -> NewApproval:
    given = call.arguments
    prompt, show = given["prompt"], given.get("show")
    return NewApproval(
        id=new_id(),
        execution_id=call.execution_id,
        path=call.path,
        prompt=prompt,
        show=show,
        digest=digest_of(asked, call.execution_id, call.path, prompt, show),
        approvers=given.get("approvers"),
        allow_self=given.get("allow_self", True),
        expires_in_s=expires_in_s,
    )


def _check_prompt(prompt: Any) -> str | None:
    if not isinstance(prompt, str):
        return None
    fits = prompt.strip() and len(prompt) <= MAX_PROMPT_CHARS and "\0" not in prompt
    return None if fits else f"must be a string of 1 to {MAX_PROMPT_CHARS} characters"


def _check_shown(show: Any) -> str | None:
    if _has_expressions(show):
        return None
    try:
        check_document({"show": show})
    except ValueError as error:
        return str(error)
    return None if len(orjson.dumps(show)) <= MAX_SHOWN_BYTES else f"must not be larger than {MAX_SHOWN_BYTES} bytes"


def _has_expressions(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_expressions, cast("dict[str, Any]", value).values()))
    if isinstance(value, list):
        return any(map(_has_expressions, cast("list[Any]", value)))
    return isinstance(value, Text)


def _check_approvers(approvers: Any) -> str | None:
    if not isinstance(approvers, list):
        return None
    listed = cast("list[Any]", approvers)
    fits = all(isinstance(item, Text) or (isinstance(item, str) and is_slug(item)) for item in listed)
    is_fitting = fits and 0 < len(listed) <= MAX_APPROVERS
    return None if is_fitting else f"must be a list of 1 to {MAX_APPROVERS} slugs of personas"


def _check_expires_in(text: Any) -> str | None:
    return duration_problem(text) if isinstance(text, str) else None


_CHECKS: Mapping[str, Callable[[Any], str | None]] = {
    "prompt": _check_prompt,
    "show": _check_shown,
    "approvers": _check_approvers,
    "expires_in": _check_expires_in,
}
