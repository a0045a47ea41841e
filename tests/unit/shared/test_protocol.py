"""How the parts of an answer become one write."""

import asyncio

from support.transport import FakeTransport
from tmws_shared.protocol import FULL_BYTES, OneWrite


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
