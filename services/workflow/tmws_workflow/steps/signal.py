"""`signal`: waits until the execution is sent a signal of this name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tmws_contracts.approvals import SIGNAL_NAME
from tmws_workflow.engine import Completed, Outcome, Waits
from tmws_workflow.repository.signals import has_signal, take_signal
from tmws_workflow.steps.base import SERVICE_RETRY, Argument, Simple, StepCall, StepFailed, Wait

# The first look comes soon: the signal may be sent before the step is written down as waiting.
FIRST_LOOK_S = 1.0
_EXPECTED = "must be 1 to 64 letters, digits and _ . -, beginning with a letter or _"


class Signal(Simple):
    """Waits for a signal; its output is `{name, payload, by, at}`."""

    uses = "signal"
    arguments = {"name": Argument((str,), is_required=True)}
    retry = SERVICE_RETRY

    def check(self, arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Check the name, when it is literal."""
        name = arguments.get("name")
        return [("name", _EXPECTED)] if isinstance(name, str) and not re.fullmatch(SIGNAL_NAME, name) else []

    async def start(self, call: StepCall) -> Outcome:
        """Wait; what was sent before is taken by the first look."""
        name = call.arguments["name"]
        if not isinstance(name, str) or self.check(call.arguments):
            raise StepFailed("argument", f"/with/name: {_EXPECTED}")
        async with call.services.database.connection() as connection:
            is_there = await has_signal(connection, call.execution_id, name, call.path)
        return Waits(f"signal:{call.execution_id}:{name}", 0.0 if is_there else FIRST_LOOK_S)

    async def look(self, wait: Wait) -> Outcome | None:
        """Take the oldest signal that nobody has taken."""
        name = wait.subject.partition(":")[2]
        async with wait.services.database.transaction() as connection:
            signal = await take_signal(connection, wait.execution_id, name, wait.path)
        if signal is None:
            return None
        return Completed(signal.model_dump(mode="json", include={"name", "payload", "by", "at"}))
