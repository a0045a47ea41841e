"""How the parts of an answer become one write, and how long a connection is kept."""

import asyncio
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from support.transport import FakeTransport
from tmws_shared.protocol import FULL_BYTES, OneWrite, OneWriteProtocol

ASKED = b"GET /a%20b?c=d HTTP/1.1\r\nHost: x\r\n\r\n"
KEPT_S = 0.2


class Served:
    """A connection to an app that answers after a while, and is kept for 200 ms."""

    def __init__(self, takes_s: float = 0.0) -> None:
        self.scopes: list[Any] = []
        self.transport = FakeTransport()
        self._takes_s = takes_s
        config = uvicorn.Config(self._answer, interface="asgi3", log_config=None)
        self.protocol = OneWriteProtocol(config, ServerState(), {})
        self.protocol.timeout_keep_alive = KEPT_S  # pyright: ignore[reportAttributeAccessIssue] -- whole seconds would be long
        self.protocol.connection_made(self.transport)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        await asyncio.sleep(self._takes_s)
        headers = [(b"content-length", str(len(self.scopes)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * len(self.scopes)})


async def test_quiet_connection_is_closed() -> None:
    served = Served()
    served.protocol.data_received(ASKED)
    await asyncio.sleep(KEPT_S / 2)
    assert (len(served.transport.writes), served.transport.is_gone) == (1, False)
    await asyncio.sleep(KEPT_S)
    assert served.transport.is_gone


async def test_connection_is_kept_while_it_is_used() -> None:
    served = Served()
    for _ in range(4):
        served.protocol.data_received(ASKED)
        await asyncio.sleep(KEPT_S / 2)
    assert (len(served.transport.writes), served.transport.is_gone) == (4, False)


async def test_connection_that_waits_for_an_answer_is_not_quiet() -> None:
    served = Served(takes_s=2 * KEPT_S)
    served.protocol.data_received(ASKED)
    await asyncio.sleep(2.5 * KEPT_S)
    assert (len(served.transport.writes), served.transport.is_gone) == (1, False)


async def test_requests_sent_together_are_answered_one_after_the_other() -> None:
    served = Served()
    served.protocol.data_received(3 * ASKED)
    await asyncio.sleep(KEPT_S / 2)
    bodies = [
        answer.partition(b"\r\n\r\n")[2] for answer in b"".join(served.transport.writes).split(b"HTTP/1.1 200 OK")
    ]
    assert bodies == [b"", b"x", b"xx", b"xxx"]


async def test_target_is_shown_as_it_was_and_decoded() -> None:
    served = Served()
    served.protocol.data_received(ASKED)
    await asyncio.sleep(0)
    scope = served.scopes[0]
    assert (scope["method"], scope["http_version"], scope["path"]) == ("GET", "1.1", "/a b")
    assert (scope["raw_path"], scope["query_string"]) == (b"/a%20b", b"c=d")


async def test_what_is_written_in_one_turn_leaves_at_once() -> None:
    below = FakeTransport()
    transport = OneWrite(below)
    transport.write(b"head")
    transport.write(b"body")
    await asyncio.sleep(0)
    assert below.writes == [b"headbody"]


async def test_head_of_a_stream_does_not_wait_for_its_first_event() -> None:
    below = FakeTransport()
    transport = OneWrite(below)
    transport.write(b"head")
    await asyncio.sleep(0)
    transport.write(b"event")
    await asyncio.sleep(0)
    assert below.writes == [b"head", b"event"]


async def test_closing_writes_what_is_kept_first() -> None:
    below = FakeTransport()
    transport = OneWrite(below)
    transport.write(b"last words")
    transport.close()
    assert (below.writes, below.is_gone) == ([b"last words"], True)


async def test_much_is_written_at_once_so_that_the_transport_can_say_stop() -> None:
    below = FakeTransport()
    OneWrite(below).write(b"x" * (FULL_BYTES + 1))
    assert len(below.writes) == 1


async def test_nothing_is_written_to_a_connection_that_is_gone() -> None:
    below = FakeTransport()
    OneWrite(below).write(b"late")
    below.abort()
    await asyncio.sleep(0)
    assert below.writes == []
