"""The embedded Redis keeps its data and stays private."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from redis import Redis as Client

from support.postgres import start, wait_until
from tmws_local.redis import Redis, find_server

STOP_S = 10.0


@pytest.fixture
def home(short_directory: Path, request: pytest.FixtureRequest) -> Path:
    folder = short_directory / request.node.name[:48]
    folder.mkdir()
    return folder


@pytest.fixture
def server(home: Path) -> Redis:
    binary = find_server()
    assert binary is not None
    return Redis(binary, home / "data", home / "redis.sock")


@pytest.fixture
def run_server(server: Redis, home: Path) -> Iterator[object]:
    started = []

    def run() -> int:
        server.prepare()
        process = start(server.command(), home / "log")
        started.append(process)
        wait_until(server.is_ready, process, home / "log")
        return process.pid

    yield run
    for process in started:
        process.kill()
        process.wait(STOP_S)


def test_it_listens_on_no_port(run_server) -> None:
    pid = run_server()

    assert psutil.Process(pid).net_connections("inet") == []


def test_its_socket_is_private(run_server, server: Redis) -> None:
    run_server()

    assert oct(server.unix_socket.stat().st_mode & 0o777) == "0o700"


def test_killed_server_starts_again_with_its_data(run_server, server: Redis) -> None:
    pid = run_server()
    with Client.from_url(server.url) as client:
        client.set("kept", "yes")
        client.execute_command("CONFIG", "SET", "appendfsync", "always")
        client.set("synced", "yes")
    os.kill(pid, signal.SIGKILL)

    run_server()

    with Client.from_url(server.url) as client:
        assert client.mget("kept", "synced") == [b"yes", b"yes"]
