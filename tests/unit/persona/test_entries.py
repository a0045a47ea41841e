"""Entries of lists, from what the services answer."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tmws_contracts.memory import Visibility
from tmws_contracts.memory_bulk import DuplicateCluster, DuplicateMember, DuplicatePair
from tmws_persona.asking import Found
from tmws_persona.duties.team import is_ending, is_silent
from tmws_persona.entries import duplicates_entry, facts_of, section, section_of

AT = datetime(2030, 1, 2, tzinfo=UTC)
OLD, KEPT = UUID(int=1), UUID(int=2)


def member(memory_id: UUID, excerpt: str) -> DuplicateMember:
    return DuplicateMember(
        id=memory_id, excerpt=excerpt, importance=0.5, store_count=1, tags=[], persona_id=None,
        visibility=Visibility.NAMESPACE, created_at=AT, version=1,
    )  # fmt: skip


def test_cluster_of_duplicates_says_what_would_be_kept() -> None:
    pair = DuplicatePair(first=OLD, second=KEPT, similarity=0.98765, overlap=0.9)
    members = [member(OLD, "old words"), member(KEPT, "new words")]
    cluster = DuplicateCluster(memories=members, pairs=[pair], keep=KEPT, is_truncated=False)
    entry = duplicates_entry(cluster.model_dump(mode="json"))
    assert (entry.id, entry.said) == (str(KEPT), "new words")
    assert entry.facts == {"memories": 2, "similarity": 0.988, "others": str(OLD)}


def test_facts_that_are_null_or_false_are_left_out_and_zero_is_not() -> None:
    assert facts_of(a=None, b=False, c=0, d=True, e="x;y") == {"c": 0, "d": True, "e": "x,y"}


def test_section_counts_what_it_does_not_show() -> None:
    found = Found([{"id": str(number)} for number in range(5)], is_cut=True)
    made: list[Any] = []

    def make(item: dict[str, Any]) -> Any:
        made.append(item)
        return duplicates_entry(
            DuplicateCluster(memories=[member(OLD, "x")], pairs=[], keep=OLD, is_truncated=False).model_dump(
                mode="json"
            )
        )

    cut = section_of("x", "X", found, make, shown=2)
    assert (len(cut.items), cut.more, cut.is_more_at_least, len(made)) == (2, 3, True, 2)


def test_empty_section_has_no_more() -> None:
    assert section("x", "X", [], shown=3).more == 0


@pytest.mark.parametrize(("left_s", "expected"), [(60, True), (300, False), (-5, True)])
def test_lease_ends_soon_within_two_minutes(left_s: int, expected: bool) -> None:
    until = datetime.now(UTC) + timedelta(seconds=left_s)
    assert is_ending({"lease_until": until.isoformat()}) is expected


@pytest.mark.parametrize(("age_h", "lease", "expected"), [(25, None, True), (23, None, False), (25, "soon", False)])
def test_task_in_progress_without_a_word_for_a_day_is_silent(age_h: int, lease: str | None, expected: bool) -> None:
    changed = datetime.now(UTC) - timedelta(hours=age_h)
    assert is_silent({"lease_until": lease, "updated_at": changed.isoformat()}) is expected
