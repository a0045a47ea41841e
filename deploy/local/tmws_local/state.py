"""What the stack leaves for others to read: who holds the data directory, what runs, which version wrote it."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from tmws_local.errors import AlreadyRunning, UnusableDirectory
from tmws_local.paths import Paths


@dataclass(frozen=True)
class ProcessState:
    """One process as the supervisor sees it."""

    name: str
    state: str
    pid: int | None
    restarts: int
    since: float


@contextmanager
def hold(paths: Paths) -> Generator[None]:
    """Hold the data directory for this process; the kernel lets it go when the process dies, however it dies.

    Raises:
        AlreadyRunning: another process holds it.
    """
    with paths.lock.open("a+", encoding="ascii") as file:
        if not _try_lock(file):
            raise AlreadyRunning(
                f"TMWS is already running with the data directory {paths.data}"
                f" (pid {holder(paths) or 'unknown'}): stop it with ./taskw down, or set TMWS_DATA_DIR"
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def holder(paths: Paths) -> int | None:
    """Return the pid of the supervisor that holds the data directory, or None."""
    try:
        with paths.lock.open("r+", encoding="ascii") as file:
            if _try_lock(file):
                return None
            return int(file.read() or 0) or None
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise UnusableDirectory(f"{paths.data} belongs to another user: {error.strerror}") from None


def _try_lock(file: IO[str]) -> bool:
    try:
        if os.name == "nt":
            import msvcrt  # the one of the two that this platform has

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK}:
            return False
        raise
    return True


def write_state(paths: Paths, url: str, processes: Sequence[ProcessState]) -> None:
    """Write what runs now, whole or not at all."""
    fresh = paths.state.with_suffix(".new")
    fresh.write_text(json.dumps({"url": url, "processes": [asdict(each) for each in processes]}), encoding="utf-8")
    fresh.replace(paths.state)


def read_state(paths: Paths) -> tuple[str, list[ProcessState]]:
    """Return the URL and the processes as the supervisor wrote them last."""
    try:
        state: dict[str, Any] = json.loads(paths.state.read_text(encoding="utf-8"))
        return state["url"], [ProcessState(**each) for each in state["processes"]]
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return "", []


def our_version() -> str:
    """Return the version of this TMWS."""
    return version("tmws-local")


def check_stamp(paths: Paths) -> None:
    """Refuse a data directory that a newer TMWS wrote.

    Raises:
        UnusableDirectory: its data may have a form this version does not know.
    """
    stamp = read_stamp(paths.version)
    if stamp is not None and _numbers(stamp) > _numbers(our_version()):
        raise UnusableDirectory(
            f"{paths.data} was last used by TMWS {stamp}, which is newer than this one ({our_version()}):"
            " start that version, or set TMWS_DATA_DIR to another folder"
        )


def write_stamp(paths: Paths) -> None:
    """Note that this version wrote here."""
    if read_stamp(paths.version) != our_version():
        paths.version.write_text(f"tmws {our_version()}\n", encoding="ascii")


def read_stamp(path: Path) -> str | None:
    """Return the version in the stamp, or None if there is none."""
    try:
        found = re.match(r"tmws (\S+)", path.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return None
    return found[1] if found else None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))
