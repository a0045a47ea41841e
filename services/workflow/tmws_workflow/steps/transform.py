"""`transform`: its output is its evaluated `with`."""

from __future__ import annotations

from tmws_workflow.engine import Completed, Outcome
from tmws_workflow.steps.base import Simple, StepCall


class Transform(Simple):
    """Reshapes values."""

    uses = "transform"
    arguments = None

    async def start(self, call: StepCall) -> Outcome:
        """Give the arguments back."""
        return Completed(call.arguments)
