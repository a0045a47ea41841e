"""Rows 61-64 and 83 of the table: many at once, and questions that are meant to be expensive or to be SQL."""

import json
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
from redis import Redis

from support.gateway import LOCALHOST, GatewayUnderTest, running_gateway, statuses
from support.postgres import PostgresForTests
from support.sse import follow
from tmws_contracts.events import Event
from tmws_shared.clock import new_id, now
from tmws_shared.events import STREAM

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
        assert {gateway.ask("GET", TASKS, token=key).status for _ in range(20)} == {200}


FEW = 20
HALF_A_HEAD = b"GET /livez HTTP/1.1\r\nHost: loc"


@pytest.fixture(scope="module")
def small(postgres: PostgresForTests, redis_url: str, short_directory: Path) -> Iterator[GatewayUnderTest]:
    """A gateway at which an address may have 20 connections."""
    with running_gateway(
        postgres.create_database(),
        redis_url,
        short_directory / "small",
        processes=["gateway"],
        auth_enabled="true",
        max_connections_per_address=str(FEW),
    ) as running:
        yield running


def ask_on(connection: socket.socket) -> list[int]:
    connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    return statuses(connection.recv(65_536))


def test_slow_clients_of_an_address_make_room_for_its_new_ones(small: GatewayUnderTest, stranger: str) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(small.connect(stranger)) for _ in range(FEW)]
        for connection in slow:
            connection.sendall(HALF_A_HEAD)
        time.sleep(0.2)
        assert [small.ask("GET", "/livez", source=stranger).status for _ in range(5)] == [200] * 5
        # Each answered one has left before the next one comes.
        assert slow[0].recv(100) == b""
        slow[-1].sendall(b"alhost\r\nConnection: close\r\n\r\n")
        assert statuses(slow[-1].recv(65_536)) == [200]


def test_address_with_too_many_answers_on_their_way_is_refused_and_no_other(
    small: GatewayUnderTest, stranger: str
) -> None:
    listen = f"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {small.admin_key}\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(FEW):
            feed = stack.enter_context(small.connect(stranger))
            feed.sendall(listen.encode())
            assert statuses(feed.recv(65_536)) == [200]
        time.sleep(0.2)
        refused = stack.enter_context(small.connect(stranger)).recv(65_536)
        assert small.ask("GET", "/livez").status == 200
    assert statuses(refused) == [503]
    assert b"too-many-connections" in refused


EVENTS, EVENT_BYTES = 3_000, 8_000
MAX_MORE_MB = 12


def tell_much(redis_url: str, port: int, key: str) -> None:
    """Put events into the stream, in steps that a reader without a fault has read."""
    with Redis.from_url(redis_url) as redis, follow(port, "/api/v1/events", token=key) as feed:
        feed.next()
        for start in range(0, EVENTS, 250):
            with redis.pipeline(transaction=False) as pipe:
                for number in range(start, start + 250):
                    event = Event(
                        id=new_id(), type="task.created", namespace="default", subject=str(number),
                        data={"text": "x" * EVENT_BYTES}, occurred_at=now(),
                    )  # fmt: skip
                    pipe.xadd(STREAM, {"event": event.model_dump_json()})
                pipe.execute()
            assert feed.subjects(250) == [str(number) for number in range(start, start + 250)]


def test_feed_whose_reader_takes_nothing_costs_no_memory_and_nobody_else(
    small: GatewayUnderTest, redis_url: str, stranger: str
) -> None:
    """24 MB are more than the buffers of both systems; the events wait in Redis."""
    process = psutil.Process(small.processes["gateway"].pid)
    with small.connect(stranger) as slow:
        head = f"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {small.admin_key}\r\n\r\n"
        slow.sendall(head.encode())
        assert statuses(slow.recv(1_024)) == [200]
        tell_much(redis_url, small.port, small.admin_key)
        before = process.memory_info().rss
        tell_much(redis_url, small.port, small.admin_key)
        more_mb = (process.memory_info().rss - before) / 1e6
    assert more_mb < MAX_MORE_MB


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
    answer = gateway.ask("GET", f"{TASKS}?q={quote(text)}&limit=1", token=key)
    assert answer.status in (200, 422)
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
