"""First part: the documentation becomes memory, and answers questions."""

from __future__ import annotations

import asyncio
import re
import statistics
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from tmws_local.demo.api import Api, DemoFailed
from tmws_local.demo.passages import Passage
from tmws_local.demo.screen import Screen
from tmws_local.demo.sentences import best_sentence

TAG = "demo"
_AT_ONCE = 8
_SHOWN = 3
_LEAST_ANSWERED = 7


@dataclass(frozen=True)
class Question:
    """A question as somebody would ask it, and what a passage that answers it says (a regular expression)."""

    text: str
    answer: str


QUESTIONS = (
    Question("What happens to a step when its worker dies?", r"lease|another (worker )?(goes on|takes)"),
    Question("What is lost when Redis dies?", r"nothing is lost|may be lost|can be lost"),
    Question("Can one service read another one's tables?", r"own role|reads? no other|schema"),
    Question("How do I call the API twice without doing the work twice?", r"[Ii]dempoten|happens twice"),
    Question("How do I use this from Claude Desktop?", r"claude_desktop_config|mcpServers|Claude Desktop"),
    Question("What does a caller see of things that belong to somebody else?", r"404|NotFound|namespace"),
    Question("Why do I get status 429 and when may I try again?", r"429|Retry-After|rate limit|[Tt]oo [Mm]any"),
    Question("How long does a short-lived memory stay?", r"short_term|expire"),
    Question("Who are Athena and Hestia?", r"Athena"),
    Question("How is the embedding model turned into something fast?", r"ONNX|int8|quanti[sz]"),
)


async def remember(api: Api, screen: Screen, passages: list[Passage]) -> None:
    """Store every passage, a few at a time, and say how fast that went."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def store(passage: Passage) -> bool:
        metadata = {"source": passage.source, "heading": passage.heading}
        async with gate:
            body = {"content": passage.content, "tags": [TAG], "tier": "short_term", "metadata": metadata}
            answer = await api.post("/memory/store", body)
        return bool(answer.get("deduplicated"))

    started = perf_counter()
    known = sum(await asyncio.gather(*map(store, passages)))
    elapsed_s = perf_counter() - started
    sources = len({passage.source for passage in passages})
    screen.say(
        f"Took in {len(passages)} passages of {sources} pages and modules in {elapsed_s:.1f} s"
        f" ({len(passages) / elapsed_s:.0f} a second, {_AT_ONCE} at a time)."
        + (f" {known} were known already and are not kept twice." if known else "")
    )


async def ask(api: Api, screen: Screen) -> None:
    """Ask every question, show the best hits and how long it took.

    Raises:
        DemoFailed: too few questions were answered.
    """
    times_ms: list[float] = []
    answered = 0
    for number, question in enumerate(QUESTIONS, start=1):
        started = perf_counter()
        body = {"query": question.text, "limit": _SHOWN, "filters": {"tags": [TAG]}}
        hits = (await api.post("/memory/search", body))["results"]
        times_ms.append((perf_counter() - started) * 1000)
        is_answered = any(re.search(question.answer, hit["content"]) for hit in hits)
        answered += is_answered
        screen.gap()
        screen.row(f"{number:>2}. {question.text}  ({times_ms[-1]:.0f} ms{'' if is_answered else '; not answered'})", 0)
        _show(screen, question.text, hits)
    screen.gap()
    slow = statistics.quantiles(times_ms, n=20, method="inclusive")[-1]
    screen.say(
        f"{answered} of {len(QUESTIONS)} questions have their answer among the first {_SHOWN} passages;"
        f" a search took {statistics.median(times_ms):.0f} ms (p50), {slow:.0f} ms (p95)."
    )
    if answered < _LEAST_ANSWERED:
        raise DemoFailed(f"only {answered} of {len(QUESTIONS)} questions were answered")


def _show(screen: Screen, question: str, hits: list[dict[str, Any]]) -> None:
    for place, hit in enumerate(hits):
        similarity = hit.get("similarity")
        meaning = "  -  " if similarity is None else f"{similarity:5.2f}"
        signals = "+".join(_signals(hit))
        screen.row(f"score {hit['score']:5.2f}  similarity {meaning}  by {signals:<18} {_origin(hit)}", 4)
        if place == 0:
            text = hit["content"].partition("\n")[2]
            screen.row(f'"{best_sentence(question, text)}"', 6)


def _signals(hit: dict[str, Any]) -> list[str]:
    """What found it, the strongest first."""
    signals: dict[str, float] = {name: hit["signals"][name] for name in ("semantic", "keyword", "neighbour")}
    return sorted((name for name, part in signals.items() if part > 0), key=lambda name: -signals[name])


def _origin(hit: dict[str, Any]) -> str:
    metadata = hit["metadata"]
    heading = "" if metadata["heading"] == metadata["source"] else f" > {metadata['heading'].rpartition(' > ')[2]}"
    return f"{metadata['source']}{heading}"
