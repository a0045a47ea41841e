"""Documents, and near duplicates that wait for consolidation: the duty of who keeps what is known."""

from __future__ import annotations

from typing import Final

from tmws_contracts.persona_wake_up import Section
from tmws_persona.asking import Asking, Found
from tmws_persona.board import MEMORY
from tmws_persona.entries import duplicates_entry, memory_entry, section_of

TAG: Final = "document"
DUPLICATES: Final = "/api/v1/memory/duplicates"
LOOKED_AT: Final = 20
SHOWN: Final = 8


async def report(asking: Asking) -> list[Section]:
    """Return the latest memories that are tagged as documents, and the clusters of near duplicates."""
    documents = await asking.list("memory", MEMORY, tags=TAG, sort="newest")
    page = await asking.get("memory", DUPLICATES, limit=LOOKED_AT)
    # Memories that were not compared yet may be duplicates, too.
    duplicates = Found(page["items"], page["next_cursor"] is not None or not page["scan"]["is_complete"])
    return [
        section_of("documents", "Latest documents", documents, memory_entry, shown=SHOWN),
        section_of("duplicates", "Near duplicates to be made one", duplicates, duplicates_entry, shown=SHOWN),
    ]
