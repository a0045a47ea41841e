"""How a process stops without losing a request: whoever is connected is told to go elsewhere, and then let go."""

from __future__ import annotations

import asyncio
import os
import socket
from time import monotonic
from types import FrameType

import uvicorn

from tmws_shared.protocol import OneWriteProtocol
from tmws_shared.stopping import stopping

# Whoever asks more rarely than this is let go at once; whoever does not is told with the next answer.
QUIET_S = 0.5
LONGEST_S = 3.0
LOOK_EVERY_S = 0.02
_CLOSE = (b"connection", b"close")


class DrainingServer(uvicorn.Server):
    """uvicorn's server. On a signal `/readyz` fails and every answer has `Connection: close`, from that moment on.

    It goes on accepting connections until all of them are quiet: nobody asks on a connection that is just being closed.
    """

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop on a signal; before the start is through there is nothing to drain, only a database to wait for."""
        if not self.started:
            os._exit(0)
        if not self.should_exit:
            # In place: the answers that are on their way have this list, too; uvicorn makes it anew every second.
            self.server_state.default_headers.append(_CLOSE)
            self.config.encoded_headers.append(_CLOSE)
        stopping.end_all()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait until nobody is about to ask, and stop."""
        latest = monotonic() + LONGEST_S
        while monotonic() < latest and not self.force_exit and self._is_asked():  # noqa: ASYNC110 -- uvicorn has no event
            await asyncio.sleep(LOOK_EVERY_S)
        await super().shutdown(sockets)

    def _is_asked(self) -> bool:
        """Whether somebody who has just asked, or just connected, has not been told yet."""
        quiet_since = monotonic() - QUIET_S
        return any(
            connection.heard_at > quiet_since
            for connection in self.server_state.connections
            if isinstance(connection, OneWriteProtocol) and not connection.is_answering
        )
