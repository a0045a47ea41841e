"""How well memories are found: dense, BM25 and hybrid, with the real tokenizer, model and ranking.

    python tests/benchmarks/retrieval.py <folder>

The folder holds `cranfield` and `jsquad`, each with corpus.jsonl {id, text}, queries.jsonl {id, text} and qrels.tsv
(query, document, grade); what is absent is skipped. The figures are nDCG@10 for Cranfield, recall@5 for JSQuAD, and
the weights are the service's own unless told otherwise.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from tmws_embedding.artifacts import prepare_model
from tmws_embedding.model import Embedder
from tmws_memory.ranking import Candidate, Weights, rank
from tmws_memory.settings import MemorySettings
from tmws_memory.terms import count_terms, query_terms, term_key, unspaced_share
from tmws_memory.words import pack_words, postings_of, score

Scores = NDArray[np.float64]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Collection:
    name: str
    documents: list[str]
    texts: list[str]
    queries: list[str]
    grades: list[dict[str, int]]

    @classmethod
    def read(cls, folder: Path, max_queries: int) -> Collection:
        documents = [json.loads(line) for line in (folder / "corpus.jsonl").open(encoding="utf-8")]
        queries = [json.loads(line) for line in (folder / "queries.jsonl").open(encoding="utf-8")]
        queries = queries[:: max(1, len(queries) // max_queries)]
        grades: dict[str, dict[str, int]] = defaultdict(dict)
        for line in (folder / "qrels.tsv").open(encoding="utf-8"):
            query, document, grade = line.split("\t")
            grades[query][document] = max(0, int(grade))
        return cls(
            folder.name,
            [item["id"] for item in documents],
            [item["text"] for item in documents],
            [item["text"] for item in queries],
            [grades[item["id"]] for item in queries],
        )


class Words:
    """An index in memory that is read and scored by the service's own code."""

    def __init__(self, texts: list[str]) -> None:
        counts = [count_terms(text) for text in texts]
        packed = (pack_words({term_key(term): count for term, count in one.items()}) for one in counts)
        self._postings = postings_of(enumerate(packed))
        self._total = len(texts)
        self._mean_length = sum(sum(one.values()) for one in counts) / len(texts)

    def score(self, query: str) -> dict[int, float]:
        """Return the BM25 of every document that has a term of the query."""
        terms = [self._postings.get(term_key(term), b"") for term in query_terms(query)]
        matches = score(terms, self._total, self._mean_length)
        return dict(zip(matches.numbers.tolist(), matches.scores.tolist(), strict=True))


def search(cosines: Scores, words: dict[int, float], semantic: float, pool: int) -> list[int]:
    """Rank as the service does: the best of both legs, all signals known of each; without words or vectors, one leg."""
    nearest = np.argsort(-cosines, kind="stable")[:pool].tolist() if semantic > 0 else []
    lexical = sorted(words, key=lambda place: -words[place])[:pool] if semantic < 1 else []
    candidates = [
        Candidate(UUID(int=place), float(cosines[place]), words.get(place), happened_at=NOW)
        for place in {*nearest, *lexical}
    ]
    return [item.id.int for item in rank(candidates, Weights(semantic=semantic), NOW)]


def ndcg_at_10(found: list[str], grades: dict[str, int]) -> float:
    ideal = sorted(grades.values(), reverse=True)[:10]
    gain = sum(grades.get(document, 0) / math.log2(place + 2) for place, document in enumerate(found[:10]))
    return gain / (sum(grade / math.log2(place + 2) for place, grade in enumerate(ideal)) or 1.0)


def recall_at_5(found: list[str], grades: dict[str, int]) -> float:
    right = {document for document, grade in grades.items() if grade > 0}
    return len(right & set(found[:5])) / max(1, len(right))


MEASURES = {"cranfield": ("nDCG@10", ndcg_at_10), "jsquad": ("recall@5", recall_at_5)}


def embed(embedder: Embedder, texts: list[str]) -> NDArray[np.float32]:
    with ThreadPoolExecutor(2) as pool:
        return np.concatenate(list(pool.map(lambda text: embedder.embed([text]).vectors, texts)))


def measure(collection: Collection, embedder: Embedder, settings: MemorySettings, pool: int) -> None:
    label, judge = MEASURES[collection.name]
    words = Words(collection.texts)
    lexical = [words.score(query) for query in collection.queries]
    cosines = embed(embedder, collection.queries) @ embed(embedder, collection.texts).T

    def hybrid(query: str) -> float:
        share = unspaced_share(query)
        return settings.memory_semantic_weight * (1 - share) + settings.memory_unspaced_semantic_weight * share

    legs = {"dense": lambda _: 1.0, "BM25": lambda _: 0.0, "hybrid": hybrid}
    for leg, weight in legs.items():
        judged = []
        for place, query in enumerate(collection.queries):
            found = search(cosines[place], lexical[place], weight(query), pool)
            judged.append(judge([collection.documents[item] for item in found], collection.grades[place]))
        print(f"{collection.name:10} {label:9} {leg:7} {sum(judged) / len(judged):.4f}  ({len(judged)} queries)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=Path, default=Path(".tmws"), help="data directory that keeps the model")
    parser.add_argument("--queries", type=int, default=1000, help="at most about so many queries of a collection")
    parser.add_argument("--pool", type=int, default=50, help="candidates of each leg")
    parser.add_argument("--semantic", type=float, help="weight of meaning in hybrid")
    given = parser.parse_args()
    settings = MemorySettings.model_construct()
    if given.semantic is not None:
        settings = settings.model_copy(update={"memory_semantic_weight": given.semantic})
    embedder = Embedder(prepare_model("all-MiniLM-L6-v2", "int8", given.models))
    for name in MEASURES:
        if not (given.folder / name).is_dir():
            print(f"{name:10} skipped: not in {given.folder}")
            continue
        measure(Collection.read(given.folder / name, given.queries), embedder, settings, given.pool)


if __name__ == "__main__":
    main()
