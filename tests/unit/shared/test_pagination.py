"""Cursors and keysets."""

import pytest

from tmws_shared.pagination import Conditions, Cursors, Keyset
from tmws_shared.problems import MalformedRequest

CURSORS = Cursors("a secret for unit tests that is long enough")


def test_cursor_gives_its_position_back() -> None:
    cursor = CURSORS.encode(["2026-01-01", "x"], list="tasks", namespace="a")
    assert CURSORS.decode(cursor, list="tasks", namespace="a") == ["2026-01-01", "x"]


def test_no_cursor_is_no_position() -> None:
    assert CURSORS.decode(None, list="tasks") is None


@pytest.mark.parametrize("context", [{"list": "tasks", "namespace": "b"}, {"list": "other", "namespace": "a"}])
def test_cursor_of_another_list_is_refused(context: dict[str, str]) -> None:
    cursor = CURSORS.encode(["x"], list="tasks", namespace="a")
    with pytest.raises(MalformedRequest):
        CURSORS.decode(cursor, **context)


@pytest.mark.parametrize("cursor", ["", "x", "====", "ü", "QUJDREVGR0hJSktMTU5PUA"])
def test_cursor_that_is_not_ours_is_refused(cursor: str) -> None:
    with pytest.raises(MalformedRequest):
        CURSORS.decode(cursor, list="tasks")


def test_keyset_continues_by_row_comparison() -> None:
    newest = Keyset((("t.made", "timestamptz"), ("t.id", "uuid")), descending=True)
    assert newest.order_by == "t.made DESC, t.id DESC"
    assert newest.beyond("$2") == "(t.made, t.id) < (($2::text[])[1]::timestamptz, ($2::text[])[2]::uuid)"


def test_conditions_number_their_values() -> None:
    where = Conditions("namespace")
    where.add_given("status = {}", "open")
    where.add_given("label = {}", None)
    where.add("x > {}", 3)
    assert (where.sql(), where.values) == (" AND status = $2 AND x > $3", ["namespace", "open", 3])
