"""The words of memories, packed and scored (pure).

A memory's words are an array of WORD; a block has up to BLOCK_POSTINGS of POSTING, so that it fits twice on a page of
PostgreSQL. Scores are BM25 (Robertson and Zaragoza 2009) with the idf of Lucene.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

# Flat on Cranfield and JSQuAD between 0.9 and 1.5, 0.6 and 0.75.
K1 = 1.2
B = 0.75
WORD = np.dtype([("term", "<i8"), ("frequency", "<u2")])
POSTING = np.dtype([("number", "<u4"), ("frequency", "<u2"), ("length", "<u2")])
BLOCK_POSTINGS = 480
_MOST = 65_535
# Beyond this many times the postings, a table over all numbers is too sparse to be worth its memory.
_SPARSE = 64

Numbers = NDArray[np.uint32]
Scores = NDArray[np.float64]


def pack_words(frequencies: Mapping[int, int]) -> bytes:
    """Return the terms (by key) of a memory and how often each occurs, at most 65,535 times, as WORDs by term."""
    words = np.empty(len(frequencies), WORD)
    words["term"] = list(frequencies)
    words["frequency"] = np.minimum(list(frequencies.values()), _MOST)
    words.sort(order="term")
    return words.tobytes()


def unpack_words(packed: bytes) -> NDArray[np.void]:
    """Return the WORDs of a memory."""
    return np.frombuffer(packed, WORD)


def length_of(words: NDArray[np.void]) -> int:
    """Return how many terms a memory has, repeats included, at most 65,535."""
    return min(int(words["frequency"].sum(dtype=np.int64)), _MOST)


def postings_of(memories: Iterable[tuple[int, bytes]], terms: NDArray[np.int64] | None = None) -> dict[int, bytes]:
    """Return the POSTINGs of each term, by number, from (number, packed words) in the order of their numbers.

    With `terms` only those are of interest.
    """
    numbers: list[int] = []
    lengths: list[int] = []
    parts: list[NDArray[np.void]] = []
    for number, packed in memories:
        words = unpack_words(packed)
        numbers.append(number)
        lengths.append(length_of(words))
        parts.append(words)
    if not parts:
        return {}
    sizes = [len(words) for words in parts]
    joined = np.concatenate(parts)
    postings = np.empty(len(joined), POSTING)
    postings["number"] = np.repeat(np.array(numbers, np.uint32), sizes)
    postings["length"] = np.repeat(np.array(lengths, np.uint16), sizes)
    postings["frequency"] = joined["frequency"]
    keys = joined["term"]
    if terms is not None:
        chosen = np.isin(keys, terms)
        keys, postings = keys[chosen], postings[chosen]
    return _by_term(keys, postings)


def _by_term(keys: NDArray[np.int64], postings: NDArray[np.void]) -> dict[int, bytes]:
    if not len(keys):
        return {}
    order = np.argsort(keys, kind="stable")
    keys, postings = keys[order], postings[order]
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    ends = np.r_[starts[1:], len(keys)]
    return {
        int(keys[start]): postings[start:end].tobytes()
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    }


def cut_blocks(postings: bytes) -> list[bytes]:
    """Cut POSTINGs into blocks."""
    size = BLOCK_POSTINGS * POSTING.itemsize
    return [postings[start : start + size] for start in range(0, len(postings), size)]


def numbers_in(postings: bytes) -> Numbers:
    """Return the numbers of the memories that some POSTINGs are of."""
    return np.frombuffer(postings, POSTING)["number"]


def without(postings: bytes, gone: Numbers) -> bytes:
    """Return POSTINGs without those of some numbers."""
    kept = np.frombuffer(postings, POSTING)
    return kept[~np.isin(kept["number"], gone)].tobytes()


def idf(total: int, having: int) -> float:
    """Return the weight of a term that `having` of `total` memories have."""
    return math.log(1 + (max(total, having) - having + 0.5) / (having + 0.5))


@dataclass(frozen=True, slots=True)
class Matches:
    """Memories that share terms with a query, by number in rising order, with their BM25."""

    numbers: Numbers
    scores: Scores

    def best(self, count: int, among: Numbers | None = None) -> Matches:
        """Return the `count` best ones, of those `among` if given; ties by number."""
        numbers, scores = self.numbers, self.scores
        if among is not None:
            chosen = np.isin(numbers, among)
            numbers, scores = numbers[chosen], scores[chosen]
        if len(numbers) > count:
            # A little more than asked for, so that equal scores at the edge are cut by number.
            edge = np.partition(scores, len(scores) - count)[len(scores) - count]
            chosen = scores >= edge
            numbers, scores = numbers[chosen], scores[chosen]
        order = np.lexsort((numbers, -scores))[:count]
        return Matches(numbers[order], scores[order])

    def scores_of(self, numbers: Sequence[int]) -> list[float | None]:
        """Return the BM25 of some memories, None where there is no match; only for what `score` returned."""
        if not len(self.numbers):
            return [None] * len(numbers)
        places = np.searchsorted(self.numbers, np.array(numbers, np.uint32))
        return [
            float(self.scores[place]) if place < len(self.numbers) and self.numbers[place] == number else None
            for place, number in zip(places.tolist(), numbers, strict=True)
        ]


def score(terms: Sequence[bytes], total: int, mean_length: float) -> Matches:
    """Return the BM25 of every memory in some terms' POSTINGs, each term's given whole.

    `total` memories of `mean_length` terms on average are searched.
    """
    read = [np.frombuffer(postings, POSTING) for postings in terms if postings]
    if not read:
        return Matches(np.array([], np.uint32), np.array([], np.float64))
    sizes = [len(postings) for postings in read]
    postings = np.concatenate(read)
    # Half the width of numpy's own floats is exact enough here, and twice as fast.
    scores = saturated(postings["frequency"].astype(np.float32), postings["length"].astype(np.float32), mean_length)
    scores *= np.repeat(np.array([idf(total, size) for size in sizes], np.float32), sizes)
    return _sum(postings["number"], scores)


Number = TypeVar("Number", float, NDArray[np.floating])


def saturated(frequency: Number, length: Number, mean_length: float) -> Number:
    """Return how much a term counts that occurs `frequency` times among `length` terms."""
    return frequency * (K1 + 1) / (frequency + K1 * (1 - B) + length * (K1 * B / max(mean_length, 1.0)))


def _sum(numbers: Numbers, scores: NDArray[np.floating]) -> Matches:
    lowest, highest = int(numbers.min()), int(numbers.max())
    if highest - lowest < _SPARSE * len(numbers):
        sums: Scores = np.bincount(numbers - np.uint32(lowest), scores).astype(np.float64, copy=False)
        places = np.flatnonzero(sums > 0)
        return Matches((places + lowest).astype(np.uint32), sums[places])
    distinct, places = np.unique(numbers, return_inverse=True)
    return Matches(distinct, np.bincount(places, scores).astype(np.float64, copy=False))
