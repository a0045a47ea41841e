"""Rows 62-64 and 83 of the table: many at once, and questions that are meant to be expensive or to be SQL."""

import json
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.parse import quote

import pytest

from support.gateway import LOCALHOST, GatewayUnderTest

TASKS = "/api/v1/tasks"
IDLE = 5_000
INJECTIONS = (
    "'; DROP TABLE task.tasks; --",
    "' OR '1'='1",
    "a' & !(b | 'c':* <-> ",
    "%" * 500,
    "_%" * 200,
    "(a+)+$" * 50,
    "\\",
    '"unclosed',
)


@pytest.fixture
def many_files() -> Iterator[None]:
    """Every idle connection is an open file of ours."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_5000_idle_connections_keep_nobody_from_being_served(gateway: GatewayUnderTest, key: str) -> None:
    with ExitStack() as stack:
        for _ in range(IDLE):
            stack.enter_context(socket.create_connection((LOCALHOST, gateway.port), 5))
        started = time.monotonic()
        statuses = {gateway.ask("GET", TASKS, token=key).status for _ in range(20)}
        took_s = time.monotonic() - started
    assert statuses == {200}
    assert took_s < 2


def test_one_key_fifty_times_at_once_has_one_effect(gateway: GatewayUnderTest, key: str) -> None:
    headers = {"Idempotency-Key": "fifty-at-once"}
    task = {"title": "once", "labels": ["fifty"]}
    with ThreadPoolExecutor(50) as pool:
        asked = [pool.submit(gateway.ask, "POST", TASKS, token=key, json=task, headers=headers) for _ in range(50)]
        answers = [one.result() for one in asked]
    made = {answer.json["id"] for answer in answers if answer.status == 201}
    assert {answer.status for answer in answers} <= {201, 409}
    assert len(made) == 1
    kept = gateway.ask("GET", f"{TASKS}?label=fifty", token=key).json["items"]
    assert [item["id"] for item in kept] == list(made)


@pytest.mark.parametrize("text", INJECTIONS)
def test_sql_and_patterns_in_a_search_are_only_words(gateway: GatewayUnderTest, key: str, text: str) -> None:
    started = time.monotonic()
    answer = gateway.ask("GET", f"{TASKS}?q={quote(text)}&limit=1", token=key)
    assert answer.status in (200, 422)
    assert time.monotonic() - started < 1
    assert gateway.ask("GET", TASKS, token=key).status == 200


@pytest.mark.parametrize("sort", ["id; DROP TABLE tasks", "(SELECT 1)", "title,pg_sleep(5)"])
def test_sort_column_is_one_of_ours(gateway: GatewayUnderTest, key: str, sort: str) -> None:
    answer = gateway.ask("GET", f"{TASKS}?sort={quote(sort)}", token=key)
    assert (answer.status, answer.pointers) == (422, ["?sort"])


def test_cursor_of_another_list_is_refused(gateway: GatewayUnderTest, key: str) -> None:
    for number in range(2):
        gateway.ask("POST", TASKS, token=key, json={"title": f"page {number}", "labels": ["cursor"]})
    cursor = gateway.ask("GET", f"{TASKS}?label=cursor&limit=1", token=key).json["next_cursor"]
    changed = gateway.ask("GET", f"{TASKS}?label=other&limit=1&cursor={quote(cursor)}", token=key)
    assert changed.status == 400
    assert json.loads(changed.body)["type"].startswith("urn:tmws:problem:")
