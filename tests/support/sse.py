"""Server-sent events, read as a caller reads them.

with follow(port, "/api/v1/events", token=key) as feed:
    feed.status, feed.headers
    event = feed.next()                    # blocks come as they are; `event.kind`, `event.id`, `event.data`
    event = feed.wait_for("task.completed")
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Block:
    """One block of a stream: an event, a comment, or an id by itself."""

    kind: str | None
    id: str | None
    comment: str | None
    text: str

    @property
    def data(self) -> Any:
        """What the event carries."""
        return json.loads(self.text)


class Stream:
    """An answer that goes on."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self._answer = answer
        self.status = answer.status
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        self.last_id: str | None = None

    def read(self) -> Any:
        """Return the rest of an answer that is a document."""
        return json.loads(self._answer.read())

    def next(self) -> Block:
        """Return the next block.

        Raises:
            EOFError: the stream has ended.
        """
        fields: dict[str, str] = {}
        while line := self._answer.readline().decode():
            if line == "\n":
                return self._keep(fields)
            name, _, value = line.rstrip("\n").partition(":")
            fields[name] = value.removeprefix(" ")
        raise EOFError

    def _keep(self, fields: Mapping[str, str]) -> Block:
        self.last_id = fields.get("id", self.last_id)
        return Block(fields.get("event"), fields.get("id"), fields.get(""), fields.get("data", ""))

    def wait_for(self, kind: str) -> Block:
        """Return the next event of a type."""
        while (block := self.next()).kind != kind:
            pass
        return block

    def subjects(self, count: int) -> list[str]:
        """Return what the next events are about."""
        found: list[str] = []
        while len(found) < count:
            block = self.next()
            if block.kind not in (None, "gap"):
                found.append(block.data["subject"])
        return found


@contextmanager
def follow(
    port: int, path: str, *, token: str | None = None, last_id: str | None = None, timeout_s: float = TIMEOUT_S
) -> Generator[Stream]:
    """Open a stream for as long as the block."""
    headers = {"Accept": "text/event-stream"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    if last_id is not None:
        headers["Last-Event-ID"] = last_id
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout_s)
    try:
        connection.request("GET", path, headers=headers)
        yield Stream(connection.getresponse())
    finally:
        connection.close()
