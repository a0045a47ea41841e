"""How a patch is applied to a memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tmws_contracts.memory import NewMemory, Tier, Visibility
from tmws_contracts.memory_changes import MemoryChange
from tmws_memory.state import Passage, State, apply, differences, merge_patch, state_of
from tmws_shared.problems import InvalidRequest

NOW = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
BEFORE = State(
    content="text",
    importance=0.5,
    metadata={"title": "A"},
    persona_id=None,
    tags=[],
    session_id=None,
    occurred_at=None,
    tier=Tier.LONG_TERM,
    expires_at=None,
    visibility=Visibility.NAMESPACE,
)


def changed(**fields: Any) -> State:
    return apply(MemoryChange.model_validate(fields), BEFORE, NOW, DAY)


# The examples of RFC 7396, appendix A.
@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_is_that_of_rfc_7396(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


def test_merge_leaves_the_old_metadata_alone() -> None:
    old = {"a": {"b": 1}}

    merge_patch(old, {"a": {"b": 2}})

    assert old == {"a": {"b": 1}}


def test_empty_patch_changes_nothing() -> None:
    assert changed() == BEFORE


def test_only_given_fields_differ() -> None:
    assert differences(BEFORE, changed(importance=0.7, tags=["a", "a"])) == {
        "importance": {"from": 0.5, "to": 0.7},
        "tags": {"from": [], "to": ["a"]},
    }


def test_lifetime_alone_makes_it_short_term() -> None:
    after = changed(ttl_seconds=60)

    assert (after.tier, after.expires_at) == (Tier.SHORT_TERM, NOW + timedelta(seconds=60))


def test_short_term_without_lifetime_lives_for_the_default() -> None:
    assert changed(tier="short_term").expires_at == NOW + DAY


def test_lifetime_of_a_long_term_memory_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="/ttl_seconds"):
        changed(tier="long_term", ttl_seconds=60)


def test_metadata_too_large_when_merged_are_refused() -> None:
    full = replace(BEFORE, metadata={str(n): n for n in range(256)})

    with pytest.raises(InvalidRequest, match="/metadata"):
        apply(MemoryChange(metadata={"one more": 1}), full, NOW, DAY)


def test_heading_is_part_of_what_is_indexed() -> None:
    assert BEFORE.passage == Passage("A", "text")
    assert changed(metadata={"title": None}).passage == Passage("", "text")


def test_new_memory_becomes_the_state_it_describes() -> None:
    memory = NewMemory(content="x", tags=["b", "a", "b"], ttl_seconds=90)

    state = state_of(memory, "hera", NOW, DAY)

    assert (state.tags, state.persona_id, state.tier) == (["b", "a"], "hera", Tier.SHORT_TERM)
    assert state.expires_at == NOW + timedelta(seconds=90)
