"""The processes' logs: appended to by the processes, capped and read by the stack."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

MAX_BYTES = 8 * 1024 * 1024
_ROTATION_CHECK_S = 30.0
_FOLLOW_S = 0.2
_TAIL_BYTES = 64 * 1024


async def rotate_for_ever(folder: Path) -> None:
    """Keep every log in the folder, and the one before it, under the cap."""
    while True:
        await asyncio.sleep(_ROTATION_CHECK_S)
        await asyncio.to_thread(rotate, folder)


def rotate(folder: Path) -> None:
    """Move what is over the cap to `<name>.log.1`.

    Copied and cut, not renamed: the processes hold the file open, and write on at its new end.
    """
    for log in folder.glob("*.log"):
        if log.stat().st_size > MAX_BYTES:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)


def tail(log: Path, lines: int, start: int = 0) -> list[str]:
    """Return the last lines that were written after the offset `start`."""
    try:
        size = log.stat().st_size
        with log.open("rb") as file:
            file.seek(max(start if start <= size else 0, size - _TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []


def show(logs: Sequence[Path], lines: int, *, follow: bool) -> None:
    """Write the last lines of the logs to standard output, then what is added, until interrupted."""
    offsets = {log: log.stat().st_size if log.exists() else 0 for log in logs}
    width = max((len(log.stem) for log in logs), default=0)
    for log in logs:
        _write(log, tail(log, lines), width)
    while follow:
        time.sleep(_FOLLOW_S)
        for log in logs:
            offsets[log] = _write_added(log, offsets[log], width)


def _write_added(log: Path, offset: int, width: int) -> int:
    size = log.stat().st_size if log.exists() else 0
    if size == offset:
        return offset
    with log.open("rb") as file:
        file.seek(offset if offset < size else 0)
        added = file.read()
    complete = added[: added.rfind(b"\n") + 1]
    _write(log, complete.decode("utf-8", errors="replace").splitlines(), width)
    return (offset if offset < size else 0) + len(complete)


def _write(log: Path, lines: Iterable[str], width: int) -> None:
    for line in lines:
        sys.stdout.write(f"{log.stem:<{width}} | {line}\n")
    sys.stdout.flush()
