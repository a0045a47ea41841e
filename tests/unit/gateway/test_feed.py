"""What a caller sees of the stream, and what a channel knows of it."""

from typing import Any

import orjson
import pytest

from tmws_contracts.events import AREAS, Event
from tmws_contracts.scopes import SCOPES
from tmws_gateway.feed.channels import KEPT, Channel
from tmws_gateway.feed.entries import Entry, read_entry, view_of
from tmws_gateway.feed.wishes import place_of, wanted_types
from tmws_shared.auth import Principal
from tmws_shared.clock import new_id, now
from tmws_shared.problems import Forbidden, InvalidRequest

READER = Principal("alice", "team-a", frozenset({"task:read", "memory:read"}))


def entry(kind: str = "task.completed", namespace: str = "team-a", number: int = 1, **data: Any) -> Entry:
    event = Event(id=new_id(), type=kind, namespace=namespace, subject="x", data=data, occurred_at=now())
    found = read_entry(b"%d-0" % number, {b"event": event.model_dump_json().encode()})
    assert found is not None
    return found


def test_every_area_has_a_scope_that_exists() -> None:
    assert set(AREAS.values()) <= SCOPES


@pytest.mark.parametrize(
    ("kind", "namespace", "is_seen"),
    [
        ("task.completed", "team-a", True),
        ("memory.stored", "team-a", True),
        ("task.completed", "team-b", False),
        ("execution.completed", "team-a", False),
        ("weather.changed", "team-a", False),
    ],
)
def test_caller_sees_its_namespace_as_far_as_its_scopes_go(kind: str, namespace: str, *, is_seen: bool) -> None:
    assert view_of(READER, frozenset()).sees(entry(kind, namespace)) is is_seen


@pytest.mark.parametrize(
    ("types", "is_seen"),
    [({"task.*"}, True), ({"task.completed"}, True), ({"task.created"}, False), ({"memory.*"}, False), (set(), True)],
)
def test_types_narrow_what_is_seen(types: set[str], *, is_seen: bool) -> None:
    assert view_of(READER, frozenset(types)).sees(entry()) is is_seen


@pytest.mark.parametrize(
    ("persona", "scopes", "audience", "is_seen"),
    [
        (None, {"memory:read"}, ["subject:alice"], True),
        (None, {"memory:read"}, ["subject:bob"], False),
        (None, {"memory:read"}, [], False),
        ("muses", {"memory:read"}, ["persona:muses"], True),
        ("muses", {"memory:read"}, ["subject:alice"], False),
        ("muses", {"memory:read", "persona:impersonate"}, ["persona:hera"], False),
        (None, {"memory:read", "persona:impersonate"}, ["persona:hera"], True),
        (None, {"memory:read", "persona:impersonate"}, ["subject:bob"], False),
    ],
)
def test_private_event_is_seen_by_its_audience(
    persona: str | None, scopes: set[str], audience: list[str], *, is_seen: bool
) -> None:
    caller = Principal("alice", "team-a", frozenset(scopes), persona)
    assert view_of(caller, frozenset()).sees(entry("memory.stored", audience=audience)) is is_seen


def test_types_come_as_lists_and_repeated() -> None:
    assert wanted_types(READER, ["task.*, memory.stored", "task.created"]) == {
        "task.*",
        "memory.stored",
        "task.created",
    }


def test_types_beyond_the_scopes_are_refused() -> None:
    with pytest.raises(Forbidden) as refused:
        wanted_types(READER, ["task.*,persona.*"])
    assert refused.value.facts["scope"] == "persona:read"


def test_who_may_read_nothing_is_refused() -> None:
    with pytest.raises(Forbidden):
        wanted_types(Principal("auditor", "team-a", frozenset({"audit:read"})), [])


@pytest.mark.parametrize("text", ["x", "1", "1-", "-1", "1-2-3", "\uff11-2", "1-99999999999999999999"])
def test_place_that_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        place_of(text)


def test_frame_is_one_block_with_the_event_in_it() -> None:
    lines = entry(number=7, text="a\nb\r\nc").frame.decode().split("\n")
    assert lines[:2] == ["id: 7-0", "event: task.completed"]
    assert orjson.loads(lines[2].removeprefix("data: "))["data"] == {"text": "a\nb\r\nc"}
    assert lines[3:] == ["", ""]


def test_channel_gives_what_came_after_a_cursor() -> None:
    channel = Channel((5, 0))
    for number in (6, 7, 8):
        channel.add(entry(number=number))
    found = channel.since((6, 0))
    assert found is not None
    assert [each.id for each in found] == [(7, 0), (8, 0)]
    assert channel.since((4, 0)) is None
    assert channel.since((8, 0)) == []


def test_channel_admits_what_it_has_forgotten() -> None:
    channel = Channel((0, 0))
    for number in range(1, KEPT + 3):
        channel.add(entry(number=number))
    assert channel.since((1, 0)) is None
    assert len(channel.since((2, 0)) or []) == KEPT


def test_channel_wakes_those_who_see_an_entry() -> None:
    woken: list[str] = []
    channel = Channel((0, 0))
    channel.listeners = {
        lambda: woken.append("tasks"): view_of(READER, frozenset({"task.*"})),
        lambda: woken.append("memories"): view_of(READER, frozenset({"memory.*"})),
    }
    channel.add(entry())
    assert woken == ["tasks"]
