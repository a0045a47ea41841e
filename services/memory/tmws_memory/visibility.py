"""Which memories a caller may see and change, and which of them it asks for: the one place where that becomes SQL."""

from __future__ import annotations

from dataclasses import dataclass

from tmws_contracts.memory import SearchFilters, Visibility
from tmws_memory.errors import ForeignPersona
from tmws_shared.auth import Principal
from tmws_shared.pagination import Conditions

IMPERSONATE = "persona:impersonate"

# $1 namespace, $2 the owners that the caller is, $3 whether it may act as any persona.
MINE = "c.namespace = $1 AND (c.owner = ANY($2::text[]) OR ($3::boolean AND c.owner LIKE 'persona:%'))"
OWNED = f"m.collection = ANY(ARRAY(SELECT c.id FROM memory_collections c WHERE {MINE}))"  # noqa: S608 -- our own fragments
# $4 the persona that shares name, empty for none.
SHARED = """s.namespace = $1 AND s.persona = ANY(ARRAY['', $4::text]) AND s.revoked_at IS NULL
    AND (s.expires_at IS NULL OR s.expires_at > now())"""
IS_SHARED = f"m.id = ANY(ARRAY(SELECT s.memory_id FROM memory_shares s WHERE {SHARED}))"  # noqa: S608 -- our own fragments
LIVE = "m.deleted_at IS NULL AND (m.expires_at IS NULL OR m.expires_at > now())"
VISIBLE = f"({OWNED} OR {IS_SHARED}) AND {LIVE}"


@dataclass(frozen=True, slots=True)
class Reader:
    """Whose eyes a query looks through."""

    namespace: str
    owners: tuple[str, ...]
    is_any_persona: bool
    persona: str

    @property
    def owning(self) -> tuple[str, list[str], bool]:
        """The parameters of MINE and OWNED."""
        return self.namespace, list(self.owners), self.is_any_persona

    @property
    def values(self) -> tuple[str, list[str], bool, str]:
        """The parameters of VISIBLE."""
        return *self.owning, self.persona


def reader_for(caller: Principal) -> Reader:
    """Return whose memories the caller sees: the namespace's, its persona's, without a persona its own.

    Who has no persona and may impersonate sees those of every persona.
    """
    own = f"persona:{caller.persona}" if caller.persona else f"subject:{caller.subject}"
    is_any_persona = caller.persona is None and IMPERSONATE in caller.scopes
    return Reader(caller.namespace, ("", own), is_any_persona, caller.persona or "")


def check_persona(caller: Principal, persona_id: str | None) -> None:
    """Return when the caller may say that a memory is a persona's: its own, or as one who may impersonate.

    Raises:
        ForeignPersona: it may not.
    """
    if persona_id not in (None, caller.persona) and IMPERSONATE not in caller.scopes:
        raise ForeignPersona


def owner_of(caller: Principal, visibility: Visibility, persona_id: str | None) -> str:
    """Return whose a memory would be; empty for the whole namespace's.

    Raises:
        ForeignPersona: it would be private to another persona.
    """
    if visibility is Visibility.NAMESPACE:
        return ""
    if persona_id is None:
        return f"subject:{caller.subject}"
    if caller.persona != persona_id and not reader_for(caller).is_any_persona:
        raise ForeignPersona
    return f"persona:{persona_id}"


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
