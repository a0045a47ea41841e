"""How an answer is written down."""

import asyncio
import logging
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from support.transport import FakeTransport
from tmws_shared.cycle import Cycle

LENGTH = (b"content-length", b"5")


class Answering:
    """A cycle over a fake transport."""

    def __init__(
        self, method: str = "GET", *, keep_alive: bool = True, always: tuple[bytes, bytes] | None = None
    ) -> None:
        self.transport = FakeTransport()
        self.ends = 0
        log = logging.getLogger("test")
        scope: Any = {"type": "http", "method": method}
        self.cycle = Cycle(scope, self.transport, FlowControl(self.transport), log, log, False,
                           [always] if always else [], asyncio.Event(), False, keep_alive, self._end)  # fmt: skip

    def _end(self) -> None:
        self.ends += 1

    async def send(self, *headers: tuple[bytes, bytes], status: int = 200, body: bytes = b"hello") -> bytes:
        await self.cycle.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.cycle.send({"type": "http.response.body", "body": body})
        return b"".join(self.transport.writes)


async def test_answer_is_written_as_it_is() -> None:
    answering = Answering()
    assert await answering.send(LENGTH, (b"X-Tab", b"a\tb")) == (
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-tab: a\tb\r\n\r\nhello"
    )
    assert answering.ends == 1


async def test_answer_without_a_length_is_chunked() -> None:
    assert await Answering().send() == (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")


@pytest.mark.parametrize("status", [204, 304])
async def test_status_without_a_body_has_no_end_to_tell(status: int) -> None:
    assert b"transfer-encoding" not in await Answering().send(status=status, body=b"")


async def test_answer_to_head_keeps_its_body_back() -> None:
    assert (await Answering("HEAD").send(LENGTH)).endswith(b"content-length: 5\r\n\r\n")


@pytest.mark.parametrize(
    "value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb", b"a\0b", b"\x7f", b"a\r\n\r\n<html>", b"\x1b[31m"]
)
async def test_value_that_could_be_read_as_something_else_is_not_sent(value: bytes) -> None:
    answering = Answering()
    with pytest.raises(RuntimeError):
        await answering.send(LENGTH, (b"x-given", value))
    assert answering.transport.writes == []


@pytest.mark.parametrize("name", [b"a b", b"a:", b"a\r\nb", b"\0", b"(a)"])
async def test_name_that_is_no_token_is_not_sent(name: bytes) -> None:
    answering = Answering()
    with pytest.raises(RuntimeError):
        await answering.send(LENGTH, (name, b"1"))
    assert answering.transport.writes == []


async def test_connection_that_is_not_kept_is_said_to_be_closed() -> None:
    answering = Answering(keep_alive=False)
    assert b"\r\nconnection: close\r\n" in await answering.send(LENGTH)
    assert answering.transport.is_gone


@pytest.mark.parametrize("keep_alive", [True, False])
async def test_closing_is_said_once(keep_alive: bool) -> None:
    answering = Answering(keep_alive=keep_alive, always=(b"connection", b"close"))
    assert (await answering.send(LENGTH)).count(b"connection: close") == 1
    assert answering.transport.is_gone


async def test_body_other_than_announced_is_refused() -> None:
    with pytest.raises(RuntimeError):
        await Answering().send((b"content-length", b"4"))


async def test_head_goes_first() -> None:
    with pytest.raises(RuntimeError):
        await Answering().cycle.send({"type": "http.response.body", "body": b""})
