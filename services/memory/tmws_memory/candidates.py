"""What may answer a search: one statement that brings everything the ranking needs."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from tmws_contracts.memory import SearchFilters
from tmws_memory.ranking import K1, B, Candidate
from tmws_memory.visibility import VISIBLE, Reader, add_filters
from tmws_shared.database import Connection, Row
from tmws_shared.pagination import Conditions

# The whole ranking input in one statement: $4 the query's vector (null: words only), $5 and $6 its model and
# precision, $7 the keys of its terms, $8 how many candidates each leg gives.
# `visible` reads a namespace exactly once and is materialised, so no vector index can answer in its place: an HNSW
# index would give the nearest of all namespaces and lose nine tenths of a small one's results.
# `(… IN (…)) IS TRUE` stays a hashed subplan however wrong the planner's estimates are; a join might become nested.
# Idf and mean length are those of exactly the rows the caller may see, so they tell nothing about others.
_CANDIDATES = """
WITH visible AS MATERIALIZED (
    SELECT m.id, m.importance, m.happened_at, m.session_id, m.length,
           CASE WHEN m.embedding_model = $5 AND m.embedding_precision = $6
                THEN -(m.embedding <#> (SELECT $4::real[]::halfvec)) END AS cosine
    FROM memory_embeddings m WHERE {visible} {filters}
), parts AS MATERIALIZED (
    SELECT c.memory_id AS id, max(-(c.embedding <#> (SELECT $4::real[]::halfvec))) AS cosine
    FROM memory_chunks c
    WHERE c.namespace = $1 AND (c.memory_id IN (SELECT id FROM visible WHERE cosine IS NOT NULL)) IS TRUE
    GROUP BY c.memory_id
), near AS (
    SELECT id FROM (SELECT id, cosine FROM visible WHERE cosine IS NOT NULL UNION ALL SELECT id, cosine FROM parts) v
    ORDER BY cosine DESC, id LIMIT $8
), matched AS MATERIALIZED (
    SELECT p.term, p.memory_id, p.frequency, p.length FROM memory_postings p
    WHERE p.term = ANY($7::bigint[]) AND (p.memory_id IN (SELECT id FROM visible)) IS TRUE
), collection AS MATERIALIZED (
    SELECT count(*)::double precision AS total, greatest(avg(length), 1)::double precision AS mean_length FROM visible
), frequent AS MATERIALIZED (
    SELECT term, count(*)::double precision AS memories FROM matched GROUP BY term
), weights AS MATERIALIZED (
    SELECT h.term, ln(1 + (c.total - h.memories + 0.5) / (h.memories + 0.5)) * {k1_plus_1}::double precision AS weight,
           {k1}::double precision * {b} / c.mean_length AS slope
    FROM frequent h, collection c
), lexical AS MATERIALIZED (
    SELECT p.memory_id AS id,
           sum(w.weight * p.frequency / (p.frequency + {k1}::double precision * {rest} + w.slope * p.length)) AS bm25
    FROM matched p JOIN weights w ON w.term = p.term GROUP BY p.memory_id
), seeds AS MATERIALIZED (
    SELECT id FROM near UNION (SELECT id FROM lexical ORDER BY bm25 DESC, id LIMIT $8)
), links AS MATERIALIZED (
    SELECT v.id, n.id AS neighbour
    FROM visible v CROSS JOIN LATERAL (
        (SELECT m.id FROM memory_embeddings m WHERE {visible} AND m.session_id = v.session_id
            AND (m.happened_at, m.id) < (v.happened_at, v.id) ORDER BY m.happened_at DESC, m.id DESC LIMIT 1)
        UNION ALL
        (SELECT m.id FROM memory_embeddings m WHERE {visible} AND m.session_id = v.session_id
            AND (m.happened_at, m.id) > (v.happened_at, v.id) ORDER BY m.happened_at, m.id LIMIT 1)
    ) n WHERE v.session_id IS NOT NULL AND (v.id IN (SELECT id FROM seeds)) IS TRUE
), pool AS MATERIALIZED (
    SELECT id FROM seeds UNION SELECT neighbour FROM links
)
SELECT id, cosine, NULL::double precision AS bm25, importance, happened_at, NULL::uuid AS neighbour
FROM visible WHERE (id IN (SELECT id FROM pool)) IS TRUE
UNION ALL SELECT id, cosine, NULL, NULL, NULL, NULL FROM parts WHERE (id IN (SELECT id FROM pool)) IS TRUE
UNION ALL SELECT id, NULL, bm25, NULL, NULL, NULL FROM lexical WHERE (id IN (SELECT id FROM pool)) IS TRUE
UNION ALL SELECT id, NULL, NULL, NULL, NULL, neighbour FROM links
"""


@dataclass(frozen=True, slots=True)
class Question:
    """What to search for: `vector` is None when only words count, `terms` empty when only meaning does."""

    vector: array[float] | None
    model: str
    precision: str
    terms: Sequence[int]
    filters: SearchFilters
    pool: int


async def find_candidates(connection: Connection, reader: Reader, question: Question) -> list[Candidate]:
    """Return the best of each leg and their neighbours, with all that is known of them."""
    where = Conditions(
        *reader.values, question.vector, question.model, question.precision, list(question.terms), question.pool
    )
    add_filters(where, question.filters)
    sql = _CANDIDATES.format(visible=VISIBLE, filters=where.sql(), k1=K1, k1_plus_1=K1 + 1, b=B, rest=1 - B)
    return _merge(await connection.fetch(sql, *where.values))


def _merge(rows: Sequence[Row]) -> list[Candidate]:
    """Rows tell one thing each: a memory, a better part of it, its BM25, or a link."""
    found: dict[UUID, Candidate] = {}
    for row in rows:
        if row["importance"] is not None:
            found[row["id"]] = Candidate(row["id"], row["cosine"], None, row["importance"], row["happened_at"])
    for row in rows:
        _complete(found, row)
    return list(found.values())


def _complete(found: dict[UUID, Candidate], row: Row) -> None:
    candidate, neighbour = found.get(row["id"]), found.get(row["neighbour"])
    if candidate is None:
        return
    if neighbour is not None:
        candidate.neighbours.add(neighbour.id)
        neighbour.neighbours.add(candidate.id)
    elif row["bm25"] is not None:
        candidate.bm25 = row["bm25"]
    elif row["cosine"] is not None:
        candidate.cosine = max(row["cosine"], -1.0 if candidate.cosine is None else candidate.cosine)
