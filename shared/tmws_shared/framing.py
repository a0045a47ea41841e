"""How a request is written down: where it ends is our decision alone (RFC 9112, section 6)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import lru_cache

HeaderList = list[tuple[bytes, bytes]]
Body = bytes | AsyncIterator[bytes] | None

# What ends a message, or says what becomes of its connection, is written here and nowhere else.
RESERVED = frozenset(b"connection content-length expect host keep-alive te trailer transfer-encoding upgrade".split())
CHUNKED = b"transfer-encoding: chunked"
LAST_CHUNK = b"0\r\n\r\n"
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(rb"/[^\x00-\x20\x7f]*")


@dataclass(slots=True)
class Request:
    """What is asked: `target` is path and query, `length` that of a streamed body when it is known beforehand."""

    method: str
    target: bytes
    headers: HeaderList = field(default_factory=HeaderList)
    body: Body = None
    length: int | None = None

    @property
    def is_streamed(self) -> bool:
        """Whether the body is sent piece by piece."""
        return self.body is not None and not isinstance(self.body, bytes)

    @property
    def is_chunked(self) -> bool:
        """Whether it is sent in chunks, because nobody knows its length."""
        return self.is_streamed and self.length is None

    @property
    def is_repeatable(self) -> bool:
        """Whether asking twice does what asking once does."""
        return self.method in ("GET", "HEAD") and not self.is_streamed


def encode(request: Request, host: bytes) -> bytes:
    """Return the head of a request, and its body when that is in hand.

    Raises:
        ValueError: a part of it could be read as something else.
    """
    method = request.method.encode()
    if not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(request.target):
        raise ValueError("the method or the target is not fit for a request line")
    parts = [method, b" ", request.target, b" HTTP/1.1\r\nhost: ", host]
    for name, value in request.headers:
        if not _may_be_given(name):
            raise ValueError("a header's name is not a token, or is not for the caller to give")
        parts += (b"\r\n", name, b": ", value)
    lines = len(request.headers) + 3
    if request.body is not None:
        lines += 1
        parts += (b"\r\n", _end(request.body, request.length))
    parts.append(b"\r\n\r\n")
    head = b"".join(parts)
    # One pass over the whole head finds what would end a line early, in whichever header it is.
    if head.count(b"\r") != lines or head.count(b"\n") != lines or b"\0" in head:
        raise ValueError("a header contains CR, LF or NUL")
    return head + request.body if isinstance(request.body, bytes) else head


def chunk(piece: bytes) -> bytes:
    """Return a piece of a body as a chunk; an empty one would end the body."""
    return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""


def _end(body: bytes | AsyncIterator[bytes], announced: int | None) -> bytes:
    """The line that says where a body ends."""
    length = len(body) if isinstance(body, bytes) else announced
    return CHUNKED if length is None else b"content-length: %d" % length


@lru_cache(1024)
def _may_be_given(name: bytes) -> bool:
    return _TOKEN.fullmatch(name) is not None and name.lower() not in RESERVED
