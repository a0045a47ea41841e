"""The real gateway as a process of its own, with the real task service behind it, on a fresh database.

    with running_gateway(postgres, redis_url, folder, auth_enabled="true") as gateway:
        gateway.admin_key                                  # a key with all scopes, when auth is on
        gateway.ask("POST", "/api/v1/tasks", token=gateway.admin_key, json={"title": "x"}).status
        gateway.send(b"GET / HTTP/1.1\\r\\n\\r\\n")            # raw bytes in, every answer byte out

Loopback has many addresses: `source="127.0.0.9"` makes a request come from one that no other test uses.
"""

from __future__ import annotations

import http.client
import itertools
import json as json_library
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.postgres import DatabaseUrls
from tmws_local.paths import free_port

SECRET = "7hQp2vXz9LmK4tRw8YbN1cFg6JdS3aEu5ToP"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 20.0
PUBLIC_URL = "https://tmws.test"
ORIGIN = "https://app.test"
LOCALHOST = "127.0.0.1"
_SERVICES = ("task", "workflow", "persona", "memory", "embedding")
_addresses = itertools.count(2)


def fresh_address() -> str:
    """Return a loopback address nobody has used yet."""
    number = next(_addresses)
    return f"127.0.{number // 250 + 1}.{number % 250 + 2}"


@dataclass(frozen=True)
class Answer:
    """What came back; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json_library.loads(self.body)

    @property
    def pointers(self) -> list[str]:
        """The fields a problem document names."""
        return [error["pointer"] for error in self.json.get("errors", [])]


@dataclass
class GatewayUnderTest:
    """A running gateway."""

    port: int
    folder: Path
    environments: Mapping[str, Mapping[str, str]]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict[str, subprocess.Popen[bytes]])
    admin_key: str = ""

    def ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        json: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        source: str = LOCALHOST,
    ) -> Answer:
        """Send one request and return its answer."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if json is not None:
            body = json_library.dumps(json).encode()
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection(LOCALHOST, self.port, ANSWER_TIMEOUT_S, source_address=(source, 0))
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def connect(self, source: str = LOCALHOST) -> socket.socket:
        """Open a raw connection."""
        return socket.create_connection((LOCALHOST, self.port), ANSWER_TIMEOUT_S, source_address=(source, 0))

    def send(self, data: bytes, *, wait_s: float = ANSWER_TIMEOUT_S, source: str = LOCALHOST) -> bytes:
        """Send bytes and return all that comes back until the gateway closes, or `wait_s` is over."""
        with self.connect(source) as connection:
            connection.settimeout(wait_s)
            # A gateway that has refused may have closed already: what it said before counts.
            with suppress(ConnectionError, BrokenPipeError):
                connection.sendall(data)
            return _read_all(connection)

    def new_token(self, *scopes: str) -> str:
        """Return an access token with these scopes."""
        answer = self.ask("POST", "/api/v1/auth/token", token=self.admin_key, json={"scopes": list(scopes)})
        return answer.json["access_token"]

    def new_key(self, name: str, *scopes: str, **fields: Any) -> Any:
        """Return a new API key, as `POST /keys` gives it."""
        wanted = {"name": name, "scopes": list(scopes), **fields}
        return self.ask("POST", "/api/v1/keys", token=self.admin_key, json=wanted).json

    def log(self, name: str = "gateway") -> str:
        """Return what a process has written on stderr."""
        return (self.folder / f"{name}.log").read_text()

    def start(self, name: str) -> None:
        """Start a process."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", f"tmws_{name}.app"],
                env=dict(self.environments[name]),
                stdin=subprocess.DEVNULL,
                stderr=log,
            )

    def stop(self, name: str) -> int:
        """End a process by SIGTERM and return its exit code."""
        process = self.processes.pop(name)
        process.terminate()
        return process.wait(STOP_TIMEOUT_S)

    def kill(self, name: str) -> None:
        """End a process by SIGKILL."""
        process = self.processes.pop(name)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(STOP_TIMEOUT_S)

    def wait_until_ready(self) -> None:
        """Wait until the gateway answers, and the task service when it was started."""
        self.wait_for("/livez")
        if "task" in self.processes:
            self.wait_for("/api/v1/tasks")

    def wait_for(self, path: str) -> None:
        """Wait until reading this answers 200."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            with suppress(OSError):
                if self.ask("GET", path, token=self.admin_key or None).status == 200:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"the gateway did not become ready:\n{self.log()}")


@contextmanager
def running_gateway(
    database: DatabaseUrls,
    redis_url: str,
    folder: Path,
    *,
    processes: Sequence[str] = ("task", "gateway"),
    **settings: str,
) -> Generator[GatewayUnderTest]:
    """Start the task service and the gateway, or what `processes` names, and stop them afterwards."""
    folder.mkdir(parents=True)
    port = free_port()
    gateway = GatewayUnderTest(port, folder, _environments(port, database, redis_url, folder, settings))
    try:
        for name in processes:
            gateway.start(name)
        if settings.get("auth_enabled") == "true":
            gateway.wait_for("/livez")
            gateway.admin_key = bootstrap(gateway.environments["gateway"])
        gateway.wait_until_ready()
        yield gateway
    finally:
        for name in list(gateway.processes):
            gateway.stop(name)


def _environments(
    port: int, database: DatabaseUrls, redis_url: str, folder: Path, settings: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    common = {"PATH": os.environ["PATH"], "TMWS_SECRET_KEY": SECRET, "TMWS_DATA_DIR": str(folder)}
    urls = {f"TMWS_{name.upper()}_URL": f"unix://{folder}/{name}.sock" for name in _SERVICES}
    gateway = {
        "TMWS_API_PORT": str(port),
        "TMWS_REDIS_URL": redis_url,
        "TMWS_DATABASE_URL": database.for_service("gateway"),
        **{f"TMWS_{name.upper()}": value for name, value in settings.items()},
    }
    task = {"TMWS_LISTEN": urls["TMWS_TASK_URL"], "TMWS_DATABASE_URL": database.for_service("task")}
    return {"gateway": common | urls | gateway, "task": common | task}


def bootstrap(environment: Mapping[str, str]) -> str:
    """Run `keys bootstrap` and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "tmws_gateway.keys", "bootstrap"],
        env=dict(environment), capture_output=True, check=True, text=True,
    )  # fmt: skip
    return done.stdout.strip()


def statuses(raw: bytes) -> list[int]:
    """Return the status of each answer in raw bytes."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", raw)]


def _read_all(connection: socket.socket) -> bytes:
    received = b""
    with suppress(TimeoutError, ConnectionError):
        while piece := connection.recv(65536):
            received += piece
    return received
