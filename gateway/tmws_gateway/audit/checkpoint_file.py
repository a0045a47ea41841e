"""The checkpoints in a file, outside of the database: a chain alone cannot show that its end was cut off."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tmws_gateway.audit.head_file import HeadFile
from tmws_gateway.chain.signing import Checkpoint

_TAIL_BYTES = 4096


class FileCheckpoints(NamedTuple):
    """What the file says of a part of the chain; `last` is the one of the last record anywhere in it.

    `noted` is the head as this gateway saw it last.
    """

    found: list[Checkpoint]
    last: Checkpoint | None
    unreadable_lines: list[int]
    noted: Checkpoint | None


class CheckpointFile:
    """Lines of JSON in the order of the chain; lines are only ever added."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.last_seq = _last_seq(path)
        self.head = HeadFile(path.with_name("head.json"))

    def append(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Add checkpoints; they are on the disk when this returns.

        Raises:
            OSError: the disk does not take them.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            _drop_torn_line(descriptor)
            # Another gateway with this data directory may have been quicker.
            last = _last_seq(self._path)
            lines = {checkpoint.seq: checkpoint.line() for checkpoint in checkpoints if checkpoint.seq > last}
            data = b"".join(lines.values())
            if os.write(descriptor, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            os.fsync(descriptor)
            self.last_seq = max([last, *lines])
        finally:
            os.close(descriptor)

    def read(self, after: int, until: int) -> FileCheckpoints:
        """Return the checkpoints after one record and up to another, and those of no record."""
        found: list[Checkpoint] = []
        unreadable: list[int] = []
        last = None
        for number, line in enumerate(_lines(self._path), 1):
            try:
                checkpoint = Checkpoint.parse(line)
            except ValueError:
                unreadable.append(number)
                continue
            last = checkpoint if last is None or checkpoint.seq > last.seq else last
            if after < checkpoint.seq <= until or checkpoint.seq <= 0:
                found.append(checkpoint)
        return FileCheckpoints(found, last, unreadable, self.head.read())


def _lines(path: Path) -> Iterable[bytes]:
    try:
        with path.open("rb") as file:
            # A torn last line was never complete: it is written again.
            yield from (line for line in file if line.endswith(b"\n"))
    except FileNotFoundError:
        return


def _last_seq(path: Path) -> int:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return 0
    for line in reversed(lines):
        try:
            return Checkpoint.parse(line).seq
        except ValueError:
            continue
    return 0


def _drop_torn_line(descriptor: int) -> None:
    """Take away what a crash left behind the last whole line."""
    size = os.lseek(descriptor, 0, os.SEEK_END)
    start = max(0, size - _TAIL_BYTES)
    tail = os.pread(descriptor, size - start, start)
    whole = tail.rfind(b"\n") + 1
    if whole < len(tail):
        os.ftruncate(descriptor, start + whole)
