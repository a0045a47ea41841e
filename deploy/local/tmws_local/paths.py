"""Where the stack keeps its files, and where its processes listen."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tmws_local.errors import UnusableDirectory

# The path of a unix socket has 107 bytes on Linux and 103 on macOS, its longest name here included.
_SOCKET_FOLDER_BYTES = 103 - len("/postgres/.s.PGSQL.5432") - 1
HAS_UNIX_SOCKETS = os.name == "posix"
# Above the usual ports, below those for outgoing connections on Linux (32768), macOS and Windows (49152).
_SERVER_PORTS = (20_000, 32_768)


@dataclass(frozen=True)
class Paths:
    """Everything the stack writes lies in `data`; sockets do too, unless that path is too long for them."""

    data: Path

    @property
    def lock(self) -> Path:
        """Held by the running supervisor."""
        return self.data / "lock"

    @property
    def state(self) -> Path:
        """What the supervisor last knew of its processes, as JSON."""
        return self.data / "state.json"

    @property
    def version(self) -> Path:
        """Which TMWS wrote here last."""
        return self.data / "VERSION"

    @property
    def secret(self) -> Path:
        """The stack's own secret, made at the first start."""
        return self.data / "secret.key"

    @property
    def admin_key(self) -> Path:
        """The first API key, when auth is on."""
        return self.data / "admin.key"

    @property
    def postgres(self) -> Path:
        """The PostgreSQL cluster."""
        return self.data / "postgres"

    @property
    def redis(self) -> Path:
        """Redis's append-only file."""
        return self.data / "redis"

    @property
    def logs(self) -> Path:
        """One log a process."""
        return self.data / "logs"

    def log(self, name: str) -> Path:
        """Return the log of one process."""
        return self.logs / f"{name}.log"

    @cached_property
    def sockets(self) -> Path:
        """The private folder of all sockets."""
        inside = self.data / "run"
        if len(os.fsencode(inside)) <= _SOCKET_FOLDER_BYTES:
            return inside
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:12]
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        if runtime and Path(runtime).is_dir() and len(os.fsencode(runtime)) < _SOCKET_FOLDER_BYTES // 2:
            return Path(runtime) / f"tmws-{digest}"
        return Path(tempfile.gettempdir()) / f"tmws-{_user()}-{digest}"

    def address(self, name: str) -> str:
        """Return where a process listens, as a URL: a unix socket, or a free loopback port without those."""
        if HAS_UNIX_SOCKETS:
            return f"unix://{self.sockets / name}.sock"
        return f"http://127.0.0.1:{free_port()}"

    def make(self) -> None:
        """Make the folders, readable for their owner only.

        Raises:
            UnusableDirectory: a folder cannot be written, or the sockets' one is somebody else's.
        """
        for folder in (self.data, self.logs, self.sockets):
            _make_private(folder)


def free_port() -> int:
    """Return a loopback port that is free now, below those that systems give to outgoing connections.

    From that range (32768 and up) a port may be taken before its server binds it, and one who waits for the server
    may be given the very port as his own end: TCP then connects him with himself (RFC 9293, 3.5).
    """
    while True:
        port = random.randrange(*_SERVER_PORTS)  # noqa: S311 - no secret
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else "user"


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / ".write-test").touch()
        (folder / ".write-test").unlink()
    except OSError as error:
        raise UnusableDirectory(f"{folder} cannot be used: {error.strerror}; choose another TMWS_DATA_DIR") from None
    if folder.is_symlink() or (HAS_UNIX_SOCKETS and folder.stat().st_uid not in {os.geteuid(), 0}):
        raise UnusableDirectory(f"{folder} belongs to somebody else; choose another TMWS_DATA_DIR")
