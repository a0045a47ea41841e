"""`memory.store`: keeps something in memory, once however often the step is tried."""

from __future__ import annotations

from tmws_workflow.engine import Completed, Outcome
from tmws_workflow.steps.base import SERVICE_RETRY, Argument, Simple, StepCall


class MemoryStore(Simple):
    """Stores a memory; its output is the service's answer."""

    uses = "memory.store"
    arguments = {
        "content": Argument((str,), is_required=True),
        "importance": Argument((int, float)),
        "metadata": Argument((dict,)),
        "persona_id": Argument((str,)),
        "tags": Argument((list,)),
        "session_id": Argument((str,)),
        "occurred_at": Argument((str,)),
        "tier": Argument((str,)),
        "ttl_seconds": Argument((int,)),
        "visibility": Argument((str,)),
    }
    scopes = frozenset({"memory:write"})
    retry = SERVICE_RETRY

    async def start(self, call: StepCall) -> Outcome:
        """Store."""
        answer = await call.send(call.services.memory, "POST", "/api/v1/memory/store", call.arguments)
        return Completed(answer.json())
