"""SQL that makes a memory findable, and takes it out again: its words and its vectors.

A memory is indexed under its number; what is indexed anew gets a new number, so that whatever is left of the old one
in blocks and graphs answers nothing until it is swept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from tmws_memory.words import pack_words
from tmws_shared.database import Connection

# Raised when the terms of a text change (terms.py); the worker then reads every memory again.
TERMS_VERSION: Final = 1

_NEW_NUMBER: Final = "UPDATE memories SET number = nextval('memory_numbers') WHERE id = $1 RETURNING number"
_ADD_WORDS: Final = """
    WITH words AS (INSERT INTO memory_words (number, collection, words) VALUES ($1, $2, $3)
                   ON CONFLICT (number) DO NOTHING)
    INSERT INTO memory_fresh (number, collection) VALUES ($1, $2) ON CONFLICT DO NOTHING
"""
_ADD_VECTORS: Final = """
    INSERT INTO memory_vectors (shelf, collection, number, position, model, embedding)
    SELECT 0, $2::integer, $1::bigint, v.n - 1, $3::smallint, v.embedding
    FROM unnest($4::halfvec[]) WITH ORDINALITY v (embedding, n)
"""
# Whatever shelf they lie on: each has an index by number.
_DROP_VECTORS: Final = "DELETE FROM memory_vectors WHERE number = ANY($1::bigint[])"
# What is not fresh any more has been folded into blocks; the sweep needs its words to find them.
_FORGET: Final = """
    WITH words AS (DELETE FROM memory_words WHERE number = ANY($1::bigint[]) RETURNING number, collection, words),
         fresh AS (DELETE FROM memory_fresh f USING words w
                   WHERE f.collection = w.collection AND f.number = w.number)
    INSERT INTO memory_forgotten (collection, number, words) SELECT collection, number, words FROM words
    ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of a content's parts, each a halfvec, and the number of the model that made them."""

    model: int
    vectors: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Index:
    """What finds a memory: how often each of its terms (by key) occurs, and its vectors unless they are pending."""

    frequencies: Mapping[int, int]
    embedded: Embedded | None

    @property
    def words(self) -> bytes:
        """The terms, packed."""
        return pack_words(self.frequencies)


async def new_number(connection: Connection, memory_id: UUID) -> int:
    """Give the memory a number under which nothing is indexed yet, and return it."""
    return await connection.fetchval(_NEW_NUMBER, memory_id)


async def add_words(connection: Connection, collection: int, number: int, words: bytes) -> None:
    """Make a memory findable by its words."""
    await connection.execute(_ADD_WORDS, number, collection, words)


async def replace_vectors(connection: Connection, collection: int, number: int, embedded: Embedded) -> None:
    """Make a memory findable by these vectors, and by no others."""
    await connection.execute(_DROP_VECTORS, [number])
    await connection.execute(_ADD_VECTORS, number, collection, embedded.model, embedded.vectors)


async def forget(connection: Connection, numbers: Sequence[int]) -> None:
    """Make memories findable no more."""
    if numbers:
        await connection.execute(_FORGET, list(numbers))
        await connection.execute(_DROP_VECTORS, list(numbers))
