"""`memory.search`: what the memory service finds."""

from __future__ import annotations

from tmws_workflow.engine import Completed, Outcome
from tmws_workflow.steps.base import SERVICE_RETRY, Argument, Simple, StepCall


class MemorySearch(Simple):
    """Searches memory; its output is the service's answer."""

    uses = "memory.search"
    arguments = {
        "query": Argument((str,), is_required=True),
        "limit": Argument((int,)),
        "threshold": Argument((int, float)),
        "mode": Argument((str,)),
        "filters": Argument((dict,)),
    }
    scopes = frozenset({"memory:read"})
    retry = SERVICE_RETRY

    async def start(self, call: StepCall) -> Outcome:
        """Search."""
        answer = await call.send(call.services.memory, "POST", "/api/v1/memory/search", call.arguments)
        return Completed(answer.json())
