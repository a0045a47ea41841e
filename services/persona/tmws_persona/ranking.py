"""How well personas fit a piece of work (pure)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tmws_contracts.persona_match import MatchSignal, MatchSignals, PersonaMatch, PersonaSearch
from tmws_persona.words import stems

# Who asks for a capability means it; meaning finds what no word says; words are sure, and rare.
_WEIGHTS: Final = {"capability": 0.5, "semantic": 0.42, "words": 0.08}
# A capability that has all words of the one asked for, and others, is not yet the same.
_WORDS_IN_COMMON: Final = 0.5
_IN_DESCRIPTION: Final = 0.5
_DIGITS: Final = 6
# By signal, what was seen and what it adds to the score.
Shares = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A persona that may fit; `similarity` is None without vectors."""

    id: str
    name: str
    description: str | None
    capabilities: Sequence[str]
    similarity: float | None

    @property
    def text(self) -> str:
        """What it means, for a model; a name such as Athena would only blur it, unless there is nothing else."""
        return f"{self.description or ''} {', '.join(self.capabilities)}".strip() or self.name


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of a candidate: those it is named after, and those it is described with."""

    strong: frozenset[str]
    weak: frozenset[str]


def rank(search: PersonaSearch, candidates: Sequence[Candidate], *, has_vectors: bool) -> list[PersonaMatch]:
    """Return the candidates that fit, best first, by id where they are equal, at most as many as asked for."""
    weights = _weights(search, has_vectors=has_vectors)
    words = _word_values(search.text, candidates) if search.text else {}
    scored: list[tuple[float, Candidate, Shares]] = []
    for candidate in candidates:
        shares = _shares(search, candidate, words.get(candidate.id, 0.0), weights)
        scored.append((sum(share for _, share in shares.values()), candidate, shares))
    fitting = sorted((one for one in scored if one[0] > 0), key=lambda one: (-one[0], one[1].id))
    return [_match(search, candidate, shares, weights) for _, candidate, shares in fitting[: search.limit]]


def _weights(search: PersonaSearch, *, has_vectors: bool) -> dict[str, float]:
    """The weights of the signals that can be used; they sum up to 1."""
    is_used = {"capability": bool(search.capabilities), "words": search.text is not None, "semantic": has_vectors}
    used = {name: weight for name, weight in _WEIGHTS.items() if is_used[name]}
    return {name: weight / sum(used.values()) for name, weight in used.items()}


def _shares(search: PersonaSearch, candidate: Candidate, in_words: float, weights: Mapping[str, float]) -> Shares:
    values = {
        "capability": _capability_value(search.capabilities, candidate),
        "words": in_words,
        "semantic": max(0.0, candidate.similarity or 0.0),
    }
    return {
        name: (round(values[name], _DIGITS), round(values[name] * weight, _DIGITS)) for name, weight in weights.items()
    }


def _match(search: PersonaSearch, candidate: Candidate, shares: Shares, weights: Mapping[str, float]) -> PersonaMatch:
    signals = {
        name: MatchSignal(value=value, weight=round(weights[name], _DIGITS), share=share)
        for name, (value, share) in shares.items()
    }
    return PersonaMatch(
        id=candidate.id,
        name=candidate.name,
        description=candidate.description,
        capabilities=list(candidate.capabilities),
        score=round(sum(signal.share for signal in signals.values()), _DIGITS),
        matched_capabilities=_matched(search, candidate),
        signals=MatchSignals(**{name: signals.get(name) for name in _WEIGHTS}),
    )


def _capability_value(asked: Sequence[str], candidate: Candidate) -> float:
    return sum(_best(wanted, candidate.capabilities) for wanted in asked) / len(asked) if asked else 0.0


def _best(wanted: str, capabilities: Sequence[str]) -> float:
    """1 when there is a capability of this name, less for one that has some of its words."""
    if _plain(wanted) in {_plain(capability) for capability in capabilities}:
        return 1.0
    words = stems(wanted)
    shares = [len(words & stems(capability)) / len(words | stems(capability) or {""}) for capability in capabilities]
    return _WORDS_IN_COMMON * max(shares, default=0.0)


def _plain(capability: str) -> str:
    return "-".join(capability.casefold().replace("_", " ").replace("-", " ").split())


def _matched(search: PersonaSearch, candidate: Candidate) -> list[str]:
    wanted = stems(" ".join([search.text or "", *search.capabilities]))
    named = {_plain(capability) for capability in search.capabilities}
    return [one for one in candidate.capabilities if _plain(one) in named or wanted & stems(one)]


def _word_values(text: str, candidates: Sequence[Candidate]) -> dict[str, float]:
    """By id the share of the text's words that it has, from 0 to 1; what few of them have counts more.

    Words that nobody has say nothing about who is better.
    """
    asked = stems(text)
    found = {candidate.id: _common(asked, candidate) for candidate in candidates}
    having = Counter(word for words in found.values() for word in words.strong | words.weak)
    weights = {word: math.log(1 + len(candidates) / count) for word, count in having.items()}
    total = sum(weights.values())
    return {persona_id: _weigh(words, weights) / total for persona_id, words in found.items()} if total else {}


def _common(asked: frozenset[str], candidate: Candidate) -> _Words:
    return _Words(
        asked & stems(" ".join([candidate.name, *candidate.capabilities])), asked & stems(candidate.description or "")
    )


def _weigh(words: _Words, weights: Mapping[str, float]) -> float:
    in_description = sum(weights[word] for word in words.weak - words.strong)
    return sum(weights[word] for word in words.strong) + _IN_DESCRIPTION * in_description
