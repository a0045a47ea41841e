"""Finds the memories whose vectors lie nearest to a query's, and what the ranking needs to know of candidates.

Fresh vectors are compared one by one; a collection that has grown has a shelf with an HNSW graph (Malkov and Yashunin
2018) over those that have settled. A graph is only ever asked for a whole collection: under a filter it loses most of
a small selection. So a filter that leaves few memories is evaluated first and those are compared one by one; under one
that leaves many the graph goes on searching until enough have passed (pgvector's iterative scan).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tmws_contracts.memory import SearchFilters
from tmws_memory.lexical import Scope
from tmws_memory.ranking import Candidate
from tmws_memory.visibility import LIVE, add_filters
from tmws_shared.database import Connection, Row
from tmws_shared.pagination import Conditions

# How far a graph is searched (recall@10 is 0.995 among 100,000, and 0.999 at 100), and that it goes on when a filter
# takes away.
VECTOR_OPTIONS: Final = {
    "hnsw.ef_search": "64",
    "hnsw.iterative_scan": "relaxed_order",
    "hnsw.max_scan_tuples": "40000",
}
# Up to this many memories that pass a filter, or this share of all, are compared one by one.
EXACT_MEMORIES: Final = 1_000
EXACT_SHARE: Final = 0.02

_NO_FILTERS: Final = SearchFilters()

# $1 collections, $2 shared numbers, $3 models, $4 the query's vector by each of them.
_SEARCHED: Final = "(m.collection = ANY($1::integer[]) OR m.number = ANY($2::bigint[]))"
_QUERY: Final = """query AS MATERIALIZED (
    SELECT model, vector FROM unnest($3::smallint[], $4::halfvec[]) q (model, vector)
    WHERE $1::integer[] IS NOT NULL AND $2::bigint[] IS NOT NULL  -- not every statement has another use for them
)"""
_DISTANCE: Final = "v.embedding <#> (SELECT vector FROM query WHERE model = {model})"
_COSINE: Final = """(SELECT max(-(v.embedding <#> q.vector)) FROM memory_vectors v JOIN query q ON q.model = v.model
    WHERE v.number = m.number AND v.shelf IN ({shelves}))"""
# LIMIT keeps the planner from turning the join round, whatever its statistics say: it is one look-up for each.
_ITS_MEMORY: Final = "JOIN LATERAL (SELECT * FROM memories WHERE number = {of}.number LIMIT 1) m ON TRUE"
_FACTS: Final = "m.id, m.number, m.importance, m.happened_at, m.session_id"

_SETTLED: Final = """(SELECT v.number, -({distance}) AS cosine FROM memory_vectors_{shelf} v {passing}
    WHERE v.model = {model} ORDER BY {distance} LIMIT $5)"""
_EACH: Final = """(SELECT number, cosine FROM (
        SELECT v.number, -({distance}) AS cosine FROM {vectors} v {passing} WHERE v.model = {model} AND {chosen}) e
    ORDER BY cosine DESC, number LIMIT $5)"""
# One row: a thousand of them would cost more to read than to find.
_PASSING: Final = """
    SELECT CASE WHEN count(*) < ${limit} THEN coalesce(array_agg(number), '{{}}') END
    FROM (SELECT m.number FROM memories m WHERE {searched} AND {live} {filters} LIMIT ${limit}) p
"""
_AMONG: Final = "SELECT m.number FROM memories m WHERE m.number = ANY($3::bigint[]) AND {searched} AND {live} {filters}"
# $5 how many of the nearest, $6 the best matches by words.
_CANDIDATES: Final = """WITH {query}, near AS MATERIALIZED (
    SELECT number, max(cosine) AS cosine FROM ({legs}) l GROUP BY number ORDER BY cosine DESC, number LIMIT $5
), pool AS MATERIALIZED (
    SELECT number, max(cosine) AS cosine
    FROM (SELECT number, cosine FROM near UNION ALL SELECT number, NULL FROM unnest($6::bigint[]) w (number)) p
    GROUP BY number
)
SELECT {facts}, coalesce(p.cosine, {cosine}) AS cosine FROM pool p {its_memory}
WHERE {searched} AND {live} {filters}"""
_NO_LEG: Final = "(SELECT NULL::bigint AS number, NULL::double precision AS cosine WHERE FALSE)"
# The memories right before and right after in the session.
_BESIDE: Final = """WITH {query}, beside AS MATERIALIZED (
    SELECT s.number AS of, n.number FROM memories s CROSS JOIN LATERAL (
        (SELECT m.number FROM memories m
         WHERE m.collection = s.collection AND m.session_id = s.session_id AND {live}
             AND (m.happened_at, m.id) < (s.happened_at, s.id) ORDER BY m.happened_at DESC, m.id DESC LIMIT 1)
        UNION ALL
        (SELECT m.number FROM memories m
         WHERE m.collection = s.collection AND m.session_id = s.session_id AND {live}
             AND (m.happened_at, m.id) > (s.happened_at, s.id) ORDER BY m.happened_at, m.id LIMIT 1)
    ) n WHERE s.number = ANY($5::bigint[]) AND s.session_id IS NOT NULL
)
SELECT b.of, {facts}, {cosine} AS cosine FROM beside b {its_memory}
WHERE {searched} AND {live} {filters}"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a search looks at: its scope, its filters, and the query's vector by number of model (none: words only)."""

    scope: Scope
    filters: SearchFilters
    vectors: Sequence[tuple[int, bytes]]

    @property
    def is_filtered(self) -> bool:
        """Whether there are filters at all."""
        return self.filters != _NO_FILTERS


async def few_passing(connection: Connection, wanted: Wanted) -> list[int] | None:
    """Return the numbers of all memories that pass the filters; None when there are many."""
    where = _where(wanted, with_vectors=False)
    add_filters(where, wanted.filters)
    most = max(EXACT_MEMORIES, int(EXACT_SHARE * wanted.scope.folded))
    where.values.append(most + 1)
    return await connection.fetchval(
        _PASSING.format(searched=_SEARCHED, live=LIVE, filters=where.sql(), limit=len(where.values)), *where.values
    )


async def find_candidates(
    connection: Connection, wanted: Wanted, count: int, words: Sequence[int], among: Sequence[int] | None = None
) -> list[Candidate]:
    """Return what is known of the `count` nearest memories and of the best matches by `words`, by their numbers.

    With `among` only those numbers are considered: they are known to pass the filters.
    """
    where = _where(wanted)
    where.values += [count, list(words)]
    if among is None:
        add_filters(where, wanted.filters)
        legs = _legs(wanted, f"{_ITS_MEMORY.format(of='v')} AND {LIVE} {where.sql()}")
    else:
        legs = _singly(wanted, "$7")
        where.values += [list(among)] if legs else []
    sql = _CANDIDATES.format(
        query=_QUERY,
        legs=" UNION ALL ".join(legs) or _NO_LEG,
        facts=_FACTS,
        cosine=_COSINE.format(shelves=_shelves(wanted)),
        its_memory=_ITS_MEMORY.format(of="p"),
        searched=_SEARCHED,
        live=LIVE,
        filters=where.sql(),
    )
    return [_candidate(row) for row in await connection.fetch(sql, *where.values)]


async def passing(connection: Connection, wanted: Wanted, numbers: Sequence[int]) -> set[int]:
    """Return those of some memories that pass the filters."""
    where = _where(wanted, with_vectors=False)
    where.values.append(list(numbers))
    add_filters(where, wanted.filters)
    sql = _AMONG.format(searched=_SEARCHED, live=LIVE, filters=where.sql())
    return {row["number"] for row in await connection.fetch(sql, *where.values)}


async def beside(connection: Connection, wanted: Wanted, numbers: Sequence[int]) -> list[tuple[int, Candidate]]:
    """Return the neighbours within their session of some memories, each with the number of the one it is beside."""
    where = _where(wanted)
    where.values.append(list(numbers))
    add_filters(where, wanted.filters)
    sql = _BESIDE.format(
        query=_QUERY,
        facts=_FACTS,
        cosine=_COSINE.format(shelves=_shelves(wanted)),
        its_memory=_ITS_MEMORY.format(of="b"),
        searched=_SEARCHED,
        live=LIVE,
        filters=where.sql(),
    )
    return [(row["of"], _candidate(row)) for row in await connection.fetch(sql, *where.values)]


def _where(wanted: Wanted, *, with_vectors: bool = True) -> Conditions:
    scope = wanted.scope
    values: list[Any] = [list(scope.collections), list(scope.shared)]
    if with_vectors:
        values += [[model for model, _ in wanted.vectors], [vector for _, vector in wanted.vectors]]
    return Conditions(*values)


def _shelves(wanted: Wanted) -> str:
    """Where vectors may lie; a shared memory's anywhere, so that the shelf says nothing."""
    if wanted.scope.shared:
        return "v.shelf"
    return ", ".join(str(int(shelf)) for shelf in [0, *wanted.scope.shelves])


def _distances(wanted: Wanted) -> list[tuple[int, str]]:
    return [(int(model), _DISTANCE.format(model=int(model))) for model, _ in wanted.vectors]


def _legs(wanted: Wanted, passing: str) -> list[str]:
    """The nearest of each shelf, of what is fresh, and of what others share."""
    join = passing if wanted.is_filtered else ""
    legs: list[str] = []
    for model, distance in _distances(wanted):
        legs += [
            _SETTLED.format(distance=distance, shelf=int(shelf), passing=join, model=model)
            for shelf in wanted.scope.shelves
        ]
        mine = "v.collection = ANY($1::integer[])"
        legs.append(_EACH.format(distance=distance, vectors="memory_vectors_0", passing=join, model=model, chosen=mine))
    return legs + (_singly(wanted, "$2", join) if wanted.scope.shared else [])


def _singly(wanted: Wanted, numbers: str, join: str = "") -> list[str]:
    chosen = f"v.number = ANY({numbers}::bigint[]) AND v.shelf IN ({_shelves(wanted)})"
    return [
        _EACH.format(distance=distance, vectors="memory_vectors", passing=join, model=model, chosen=chosen)
        for model, distance in _distances(wanted)
    ]


def _candidate(row: Row) -> Candidate:
    return Candidate(
        row["id"],
        row["cosine"],
        importance=row["importance"],
        happened_at=row["happened_at"],
        number=row["number"],
        session_id=row["session_id"],
    )
