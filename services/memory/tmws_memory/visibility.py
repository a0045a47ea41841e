"""Which memories a caller may see, and which of them it asks for: the one place where that becomes SQL."""

from __future__ import annotations

from dataclasses import dataclass

from tmws_contracts.memory import SearchFilters
from tmws_shared.pagination import Conditions

# $1 namespace, $2 the owners that the caller is, $3 whether it may act as any persona.
GRANTED = "m.namespace = $1 AND (m.owner = ANY($2::text[]) OR ($3::boolean AND m.owner LIKE 'persona:%'))"
VISIBLE = f"{GRANTED} AND m.deleted_at IS NULL AND (m.expires_at IS NULL OR m.expires_at > now())"


@dataclass(frozen=True, slots=True)
class Reader:
    """Whose eyes a query looks through."""

    namespace: str
    owners: tuple[str, ...]
    is_any_persona: bool

    @property
    def values(self) -> tuple[str, list[str], bool]:
        """The parameters of `_GRANTED`."""
        return self.namespace, list(self.owners), self.is_any_persona


def add_filters(where: Conditions, filters: SearchFilters) -> None:
    """Add the conditions that the filters state."""
    where.add_given("m.tags @> {}::text[]", filters.tags or None)
    where.add_given("m.persona_id = {}", filters.persona_id)
    where.add_given("m.session_id = {}", filters.session_id)
    where.add_given("m.metadata @> {}::jsonb", filters.metadata or None)
    where.add_given("m.importance >= {}", filters.importance_min)
    where.add_given("m.created_at > {}", filters.created_after)
    where.add_given("m.created_at < {}", filters.created_before)
    where.add_given("m.tier = {}::text::memory_tier", filters.tier)
