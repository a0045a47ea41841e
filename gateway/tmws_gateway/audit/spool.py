"""Files in which events wait while Postgres does not take them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from tmws_gateway.audit.events import read_event
from tmws_shared.clock import new_id
from tmws_shared.telemetry import Counter

_log = logging.getLogger(__name__)
_SPOOLED = Counter("tmws_audit_spooled_total", "Audit events that went to a file because Postgres did not take them")


class Spool:
    """Batches of events in files. A file is complete when it has its name; reading one twice does no harm."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def is_used(self) -> bool:
        """Whether a file waits to be read."""
        return any(True for _ in self._folder.glob("*.ndjson"))

    def write(self, batch: Sequence[dict[str, Any]]) -> None:
        """Keep a batch; it is on the disk when this returns."""
        if not batch:
            return
        path = self._folder / f"{new_id()}.ndjson"
        draft = path.with_suffix(".draft")
        try:
            with draft.open("wb") as file:
                file.write(b"".join(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE) for event in batch))
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
            _sync_folder(self._folder)
        except OSError:
            # The log is the last place left; an event there is found by its request id.
            _log.exception("%d audit events cannot be kept", len(batch))
            for event in batch:
                _log.error("audit event %s", orjson.dumps(event).decode())
        else:
            _SPOOLED.inc(len(batch))

    def files(self) -> list[Path]:
        """Return the files, the oldest first."""
        return sorted(self._folder.glob("*.ndjson"))

    def read(self, path: Path) -> list[dict[str, Any]]:
        """Return the batch in a file; nothing when another gateway has just written it to Postgres.

        A line that holds no event is told of in the log; its file is kept under another name.
        """
        try:
            lines = path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        events: list[dict[str, Any]] = []
        for number, line in enumerate(lines, 1):
            try:
                events.append(read_event(line))
            except ValueError:
                _log.error("line %d of %s holds no audit event", number, path.name)
        if len(events) < len(lines):
            path.with_suffix(".damaged").write_bytes(b"\n".join(lines))
        return events

    def forget(self, path: Path) -> None:
        """Remove a file whose events are in Postgres."""
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
