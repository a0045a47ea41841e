"""SQL of claims: who gets which task, and how long it is theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from uuid import UUID

from tmws_contracts.task_claims import TaskClaim
from tmws_shared.database import Connection, Database, Row
from tmws_task.repository.tasks import Author
from tmws_task.repository.views import VIEW, as_document

# How many times as many as it takes a claim looks at: the others may be taken at this moment.
_SPARE: Final = 20
_ATTEMPTS: Final = 3
MAX_LOSSES: Final = 3
# As a CASE half of the tasks seem to match. Of the comparisons the planner would think that hardly one does, and sort
# all that are ready instead of reading the first few in their order.
_MATCHES: Final = "CASE WHEN t.labels @> $3::text[] AND t.capabilities <@ $4::text[] THEN true ELSE false END"
_FITS: Final = f"t.namespace = $1 AND t.status = 'pending' AND t.unmet = 0 AND {_MATCHES}"
_SHARES: Final = """
    t.claim_token, task_head_start_h(t.effective_priority) AS priority_h,
    task_due_h(t.created_at, t.due_at) AS due_h, task_unblocks_h(t.unblocks) AS unblocks_h,
    extract(epoch FROM t.lease_until - make_interval(secs => t.lease_seconds) - t.created_at)::double precision / 3600
        AS age_h,
    coalesce((t.assigned_persona = ANY($2::text[]))::integer, 0)::double precision AS persona_h
"""
_SAME_REQUEST: Final = (
    "SELECT pg_advisory_xact_lock(hashtextextended(concat_ws(chr(31), 'claim', $1::text, $2::text, $3::text), 0))"
)
_HELD: Final = f"""
    SELECT {VIEW}, {_SHARES.replace("$2", "$4")} FROM tasks t
    WHERE t.namespace = $1 AND t.claimed_by = $2 AND t.claim_request = $3 AND t.lease_until > now()
    ORDER BY t.claim_token
"""  # noqa: S608 -- our own fragments
_RENEW: Final = """
    UPDATE tasks SET lease_seconds = coalesce($4::integer, lease_seconds),
        lease_until = now() + make_interval(secs => coalesce($4::integer, lease_seconds))
    WHERE namespace = $1 AND id = $2 AND claim_token = $3 AND lease_until IS NOT NULL
    RETURNING id::text AS id, claim_token, lease_until, lease_seconds
"""
# The third time a person is asked: what takes its agents down must not go round for ever.
_TAKE_BACK: Final = f"""
    UPDATE tasks t SET
        status = CASE WHEN lease_losses + 1 < {MAX_LOSSES} THEN 'pending' ELSE 'input_required' END::task_status,
        question = CASE WHEN lease_losses + 1 < {MAX_LOSSES} THEN question
                        ELSE 'Its claim has expired {MAX_LOSSES} times, the last one held by ' || claimed_by
                             || '. Should it be tried again?' END,
        lease_losses = lease_losses + 1, claimed_by = NULL, claim_token = NULL, claim_request = NULL,
        lease_until = NULL, action = 'lease_lost', author = 'tmws', author_persona = NULL, version = version + 1,
        updated_at = now()
    WHERE id = ANY(ARRAY(SELECT id FROM tasks WHERE lease_until < now() ORDER BY lease_until LIMIT $1
                         FOR NO KEY UPDATE SKIP LOCKED))
    RETURNING namespace
"""  # noqa: S608 -- our own constant


@dataclass(frozen=True, slots=True)
class Wish:
    """What a claim of a namespace asks for; `personas` has the caller's own."""

    namespace: str
    claim: TaskClaim
    personas: list[str]
    author: Author

    @property
    def kind(self) -> tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """Wishes of one kind ask for the same tasks."""
        return self.namespace, tuple(self.personas), tuple(self.claim.labels), tuple(self.claim.capabilities)


class ClaimRepository:
    """The claims of one namespace, through one connection."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    async def serialise(self, claim: TaskClaim) -> None:
        """Let no other transaction claim by the same request until this one ends."""
        await self._connection.execute(_SAME_REQUEST, self._namespace, claim.agent_id, claim.request_id)

    async def held(self, wish: Wish) -> list[dict[str, Any]]:
        """Return what the same request was given before and still has (see ClaimedTask)."""
        claim = wish.claim
        rows = await self._connection.fetch(_HELD, self._namespace, claim.agent_id, claim.request_id, wish.personas)
        return [_claimed(row) for row in rows]

    async def take(self, wishes: Sequence[Wish]) -> list[list[dict[str, Any]]]:
        """Claim the best tasks that fit and return them, best first (see ClaimedTask), for each of some wishes.

        They ask for the same, for one agent each: the first gets the best, as if they had come one after another.
        """
        rows = await self._try_to_take(wishes)
        for _ in range(_ATTEMPTS - 1):
            if rows[0]["id"] is not None or not rows[0]["candidates"]:
                break
            rows = await self._try_to_take(wishes)
        taken: list[list[dict[str, Any]]] = [[] for _ in wishes]
        for row in rows:
            if row["id"] is not None:
                place: int = row["place"]
                taken[place - 1].append(_claimed(row))
        return taken

    async def _try_to_take(self, wishes: Sequence[Wish]) -> list[Row]:
        """Return what was claimed; or one row without an id, whose `candidates` others were taking."""
        claims, alike = [wish.claim for wish in wishes], wishes[0]
        wanted = sum(claim.limit for claim in claims)
        return await self._connection.fetch(
            _claim_sql(1 << (wanted - 1).bit_length(), has_personas=bool(alike.personas)),
            self._namespace,
            alike.personas,
            alike.claim.labels,
            alike.claim.capabilities,
            [claim.agent_id for claim in claims],
            [claim.request_id for claim in claims],
            [claim.lease_seconds for claim in claims],
            [wish.author.name for wish in wishes],
            [wish.author.persona for wish in wishes],
            [claim.limit for claim in claims],
            wanted,
        )

    async def renew(self, task_id: UUID, token: int, lease_s: int | None) -> Row | None:
        """Lengthen the claim that `token` stands for; return it (see Lease), or None when it is lost."""
        return await self._connection.fetchrow(_RENEW, self._namespace, task_id, token, lease_s)


@cache
def _claim_sql(most: int, *, has_personas: bool) -> str:
    """Return the statement of claims for at most so many tasks, with what its costs hang on written out: so the server
    keeps its plan.

    The best of each persona's and of nobody's, which an index has in their order; of them all the best that nobody else
    is taking. They are dealt to those who asked in their order; a token is drawn for each in the order of the answer.
    """
    spare = most * _SPARE
    of_personas = f"""UNION ALL SELECT leg.* FROM unnest($2::text[]) p (persona)
        CROSS JOIN LATERAL {_leg("= p.persona", spare, bonus_s=3600)} leg"""  # noqa: S608 -- our own fragments
    # As a text the status keeps the planner from looking for the chosen again by another index than their ids.
    return f"""
    WITH asked AS MATERIALIZED (
        SELECT a.*, sum(most) OVER (ORDER BY place) AS upto
        FROM unnest($5::text[], $6::text[], $7::integer[], $8::text[], $9::text[], $10::integer[])
            WITH ORDINALITY a (agent, request, lease_s, author, persona, most, place)
    ), wanted AS MATERIALIZED (
        SELECT id, turn FROM ({_leg("IS NULL", spare)} {of_personas if has_personas else ""}) legs
        ORDER BY turn, id LIMIT {spare}
    ), chosen AS MATERIALIZED (
        SELECT t.id, w.turn FROM wanted w JOIN tasks t ON t.id = w.id
        WHERE t.status::text = 'pending' AND t.unmet = 0 AND {_MATCHES}
          AND (t.assigned_persona IS NULL OR t.assigned_persona = ANY($2::text[]))
        ORDER BY w.turn, w.id LIMIT $11::integer FOR NO KEY UPDATE OF t SKIP LOCKED
    ), dealt AS MATERIALIZED (
        SELECT c.id, a.*, nextval('task_claim_tokens') AS token
        FROM (SELECT id, row_number() OVER (ORDER BY turn, id) AS rank FROM chosen ORDER BY rank) c
        CROSS JOIN LATERAL (SELECT * FROM asked WHERE upto >= c.rank ORDER BY place LIMIT 1) a
    ), t AS (
        UPDATE tasks o SET status = 'in_progress', claimed_by = d.agent, claim_request = d.request,
            claim_token = d.token, lease_seconds = d.lease_s, lease_until = now() + make_interval(secs => d.lease_s),
            action = 'claimed', author = d.author, author_persona = d.persona, version = version + 1,
            updated_at = now()
        FROM dealt d WHERE o.id = d.id RETURNING o.*, d.place
    )
    SELECT {VIEW}, {_SHARES}, t.place, w.candidates
    FROM (SELECT count(*) AS candidates FROM wanted) w LEFT JOIN t ON true
    ORDER BY t.claim_token
    """  # noqa: S608 -- our own fragments


def _leg(whose: str, spare: int, bonus_s: int = 0) -> str:
    """The best ready tasks of somebody; what is meant for the claimer has a head start."""
    return f"""(SELECT t.id, t.turn - {bonus_s} AS turn FROM tasks t WHERE {_FITS} AND t.assigned_persona {whose}
        ORDER BY t.assigned_persona, t.turn, t.id LIMIT {spare})"""  # noqa: S608 -- our own fragments


async def take_back(database: Database, limit: int) -> list[str]:
    """Return tasks whose claims have expired to the queue; return the namespace of each."""
    return [row["namespace"] for row in await database.fetch(_TAKE_BACK, limit)]


_NOT_SHOWN: Final = ("priority_h", "due_h", "unblocks_h", "age_h", "persona_h", "place", "candidates")


def _claimed(row: Row) -> dict[str, Any]:
    shares = {name: round(row[f"{name}_h"], 4) for name in ("priority", "due", "unblocks", "age", "persona")}
    document = as_document(row, score=round(sum(shares.values()), 4), score_breakdown=shares)
    for name in _NOT_SHOWN:
        document.pop(name, None)
    return document
