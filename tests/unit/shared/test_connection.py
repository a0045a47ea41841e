"""What a connection makes of the bytes that come."""

import time

import pytest

from support.transport import FakeTransport
from tmws_shared.connection import MAX_HEAD_BYTES, Connection
from tmws_shared.framing import Request
from tmws_shared.reply import MAX_WAITING_BYTES, BrokenAnswer, NotAnswered, Reply

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Line:
    """A connection over a fake transport, with a request on it."""

    def __init__(self, method: str = "GET") -> None:
        self.freed: list[Connection] = []
        self.transport = FakeTransport()
        self.connection = Connection(self.freed.append)
        self.connection.connection_made(self.transport)
        self.reply = self.ask(method)

    def ask(self, method: str = "GET") -> Reply:
        return self.connection.ask(Request(method, b"/"), b"the request")

    def hear(self, *pieces: bytes) -> Reply:
        for piece in pieces:
            self.connection.data_received(piece)
        return self.reply

    @property
    def is_free(self) -> bool:
        return self.freed == [self.connection] and self.connection.is_usable


async def read(reply: Reply) -> bytes:
    await reply.begin(time.monotonic() + 1)
    return await reply.read(1, 1_000_000)


async def test_answer_in_one_piece_is_complete_at_once() -> None:
    line = Line()
    reply = line.hear(OK)
    assert (reply.status, reply.headers, reply.is_complete) == (200, [(b"content-length", b"5")], True)
    assert reply.take() == b"hello"
    assert line.is_free


async def test_answer_byte_by_byte_is_the_same() -> None:
    line = Line()
    reply = line.hear(*(OK[place : place + 1] for place in range(len(OK))))
    assert await read(reply) == b"hello"
    assert line.is_free


async def test_chunks_are_joined_and_trailers_dropped() -> None:
    line = Line()
    reply = line.hear(CHUNKED, b"5\r\nhello\r\n", b"6\r\n world\r\n", b"0\r\nX-Late: 1\r\n\r\n")
    assert await read(reply) == b"hello world"
    assert reply.headers == [(b"transfer-encoding", b"chunked")]
    assert line.is_free


@pytest.mark.parametrize("interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"])
async def test_interim_answer_is_skipped(interim: bytes) -> None:
    reply = Line().hear(interim, interim + OK)
    assert (reply.status, reply.headers, reply.take()) == (200, [(b"content-length", b"5")], b"hello")


async def test_answer_to_head_has_no_body() -> None:
    line = Line("HEAD")
    reply = line.hear(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    assert (reply.is_complete, reply.take()) == (True, b"")
    assert line.is_free


async def test_connection_is_used_again_after_head() -> None:
    line = Line("HEAD")
    line.hear(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    line.reply = line.ask("GET")
    assert line.hear(OK).take() == b"hello"


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_status_without_a_body_needs_no_length(status: bytes) -> None:
    line = Line()
    reply = line.hear(b"HTTP/1.1 " + status + b"\r\nETag: x\r\n\r\n")
    assert (reply.is_complete, reply.take()) == (True, b"")
    assert line.is_free


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ],
    ids=["close", "1.0"],
)
async def test_connection_that_is_to_be_closed_is_not_used_again(answer: bytes) -> None:
    line = Line()
    assert await read(line.hear(answer)) == b"hello"
    assert line.transport.is_gone
    assert not line.freed


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        CHUNKED.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n") + b"0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 99 Odd\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        OK + OK,
        OK + b"garbage",
    ],
    ids=["bare lf", "cl twice", "cl differ", "cl list", "cl plus", "cl te", "te cl", "te gzip", "te twice", "te in 1.0",
         "chunk hex", "no length", "obs-fold", "nul", "101", "999", "99", "not http", "two answers", "garbage"],
)  # fmt: skip
async def test_malformed_answer_is_refused_and_its_connection_closed(answer: bytes) -> None:
    line = Line()
    line.hear(answer)
    with pytest.raises(BrokenAnswer):
        await read(line.reply)
    assert line.transport.is_gone
    assert not line.freed


async def test_body_where_none_may_be_is_malformed() -> None:
    line = Line("HEAD")
    line.hear(OK)
    with pytest.raises(BrokenAnswer):
        await read(line.reply)
    assert line.transport.is_gone


@pytest.mark.parametrize("end", [b"", b"\r\nContent-Length: 0\r\n\r\n"], ids=["unfinished", "whole"])
async def test_head_that_is_too_large_is_refused(end: bytes) -> None:
    line = Line()
    line.hear(b"HTTP/1.1 200 OK\r\nX: " + b"a" * MAX_HEAD_BYTES + end)
    with pytest.raises(BrokenAnswer, match="too large"):
        await read(line.reply)
    assert line.transport.is_gone


async def test_endless_interim_answers_are_refused() -> None:
    line = Line()
    line.hear(*[b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 100] * 20)
    with pytest.raises(BrokenAnswer, match="too large"):
        await read(line.reply)


async def test_bytes_nobody_asked_for_close_an_idle_connection() -> None:
    line = Line()
    line.hear(OK)
    line.hear(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert line.transport.is_gone


async def test_closed_before_a_byte_is_not_answered() -> None:
    line = Line()
    line.connection.connection_lost(None)
    with pytest.raises(NotAnswered):
        await read(line.reply)


@pytest.mark.parametrize("part", [b"H", OK[:-1], CHUNKED + b"5\r\nhello\r\n"], ids=["head", "body", "chunks"])
async def test_closed_within_the_answer_is_broken_off(part: bytes) -> None:
    line = Line()
    line.hear(part)
    line.connection.connection_lost(None)
    with pytest.raises(BrokenAnswer, match="broken off"):
        await read(line.reply)


async def test_answer_that_nobody_reads_makes_the_service_wait() -> None:
    line = Line()
    size_bytes = MAX_WAITING_BYTES + 2
    line.hear(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size_bytes, b"x" * (size_bytes - 1))
    paused = line.transport.is_reading_paused
    line.reply.take()
    assert (paused, line.transport.is_reading_paused) == (True, False)


async def test_unread_answer_does_not_slow_the_next_one_down() -> None:
    line = Line()
    size_bytes = MAX_WAITING_BYTES + 2
    line.hear(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size_bytes, b"x" * size_bytes)
    assert not line.transport.is_reading_paused
    assert line.is_free


async def test_giving_up_a_complete_answer_keeps_the_connection() -> None:
    line = Line()
    await line.hear(OK).close()
    assert line.is_free


async def test_giving_up_half_an_answer_closes_the_connection() -> None:
    line = Line()
    await line.hear(OK[:-1]).close()
    assert line.transport.is_gone


async def test_head_that_does_not_come_is_late() -> None:
    with pytest.raises(TimeoutError):
        await Line().reply.begin(time.monotonic() + 0.01)


async def test_body_larger_than_allowed_is_refused() -> None:
    with pytest.raises(BrokenAnswer, match="larger"):
        await Line().hear(OK).read(1, 4)
