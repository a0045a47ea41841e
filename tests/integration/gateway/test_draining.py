"""SIGTERM under load, through real sockets: no request that an open connection has taken is lost."""

import http.client
import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.gateway import LOCALHOST, GatewayUnderTest, running_gateway
from support.postgres import PostgresForTests

pytestmark = pytest.mark.long

BODY = b'{"title": "drained"}'
JSON = {"Content-Type": "application/json"}
_numbers = itertools.count()
QUIET_HEAD = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass
class Caller:
    """Asks one gateway until it is told to go elsewhere, then the other."""

    ports: list[int]
    method: str
    keeps_connection: bool
    statuses: list[int] = field(default_factory=list[int])
    lost: list[str] = field(default_factory=list[str])
    told: int = 0

    def ask_until(self, stop: threading.Event) -> None:
        connection = self._connect()
        while not stop.is_set():
            try:
                connection.request(self.method, "/api/v1/tasks", BODY if self.method == "POST" else None, JSON)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                connection = self._connect()
                continue
            self.statuses.append(answer.status)
            if answer.will_close:
                self.told += 1
                self.ports = self.ports[-1:]
            if answer.will_close or not self.keeps_connection:
                connection.close()
                connection = self._connect()
        connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(LOCALHOST, self.ports[0], timeout=10)
        try:
            connection.connect()
        except ConnectionRefusedError:
            self.ports = self.ports[-1:]
            connection = http.client.HTTPConnection(LOCALHOST, self.ports[0], timeout=10)
            connection.connect()
        return connection


@pytest.fixture
def two(postgres: PostgresForTests, redis_url: str, short_directory: Path) -> Iterator[list[GatewayUnderTest]]:
    database, limits = postgres.create_database(), {"rate_limit_requests": "1000000"}
    with running_gateway(database, redis_url, short_directory / "drained", **limits) as first:
        where = f"unix://{first.folder}/task.sock"
        folder = short_directory / "other"
        with running_gateway(database, redis_url, folder, processes=["gateway"], task_url=where, **limits) as second:
            yield [first, second]


def test_stop_under_load_loses_no_request(two: list[GatewayUnderTest]) -> None:
    ports = [gateway.port for gateway in two]
    callers = [Caller(list(ports), method, kept) for method in ("GET", "POST") for kept in (True, False)]
    callers += [Caller(list(ports), "POST", keeps_connection=True) for _ in range(4)]
    stop = threading.Event()
    threads = [threading.Thread(target=caller.ask_until, args=(stop,)) for caller in callers]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    code = two[0].stop("gateway")
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    assert code == 0
    assert [caller.lost for caller in callers] == [[]] * len(callers)
    assert {status for caller in callers for status in caller.statuses} == {200, 201}
    assert sum(caller.told for caller in callers if caller.keeps_connection) >= 6
    created = sum(len(caller.statuses) for caller in callers if caller.method == "POST")
    assert two[1].ask("GET", "/api/v1/stats").json["services"]["task"]["by_status"]["pending"] == created


def test_stopping_gateway_is_not_ready_and_says_so_at_once(gateway_to_stop: GatewayUnderTest) -> None:
    with gateway_to_stop.connect() as asking, gateway_to_stop.connect() as other:
        for connection in (asking, other):
            connection.sendall(QUIET_HEAD)
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        gateway_to_stop.processes["gateway"].terminate()
        time.sleep(0.05)
        asking.sendall(QUIET_HEAD.replace(b"livez", b"readyz"))
        refused = asking.recv(4096)
        other.sendall(QUIET_HEAD)
        last = other.recv(4096)
    assert refused.startswith(b"HTTP/1.1 503")
    assert last.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in refused
    assert b"connection: close" in last


def test_gateway_that_nobody_asks_stops_without_waiting(gateway_to_stop: GatewayUnderTest) -> None:
    with gateway_to_stop.connect() as idle:
        idle.sendall(QUIET_HEAD)
        idle.recv(4096)
        time.sleep(0.6)
        started = time.monotonic()
        gateway_to_stop.stop("gateway")
    assert time.monotonic() - started < 2


@pytest.fixture
def gateway_to_stop(postgres: PostgresForTests, redis_url: str, short_directory: Path) -> Iterator[GatewayUnderTest]:
    with running_gateway(
        postgres.create_database(), redis_url, short_directory / f"stopping{next(_numbers)}", processes=["gateway"]
    ) as running:
        yield running
