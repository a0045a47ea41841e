"""The feed as an answer: server-sent events, for as long as the caller listens and its credentials hold."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tmws_gateway.body import ClientGone, until_gone
from tmws_gateway.exchange import exchange_of
from tmws_gateway.feed.channels import Channel
from tmws_gateway.feed.feed import Feed
from tmws_gateway.feed.listener import Listener
from tmws_gateway.identity.authenticator import Credentials

_log = logging.getLogger(__name__)

# Who takes nothing for so long is gone, or will never catch up.
STUCK_S = 60.0
_EXPIRED = b": the credentials are not valid any more\n\n"


class FeedAnswer(Response):
    """Tells a listener what it sees; without credentials nobody needs any."""

    media_type = "text/event-stream"

    def __init__(self, feed: Feed, listener: Listener, credentials: Credentials | None) -> None:
        # A reverse proxy must not keep events back either.
        super().__init__(headers={"X-Accel-Buffering": "no"})
        self._feed = feed
        self._listener = listener
        self._credentials = credentials
        if credentials is not None:
            listener.ends_at = monotonic() + credentials.left_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events.

        Raises:
            ClientGone: the caller left, or takes nothing any more.
        """
        headers = [header for header in self.raw_headers if header[0] != b"content-length"]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        if exchange_of(scope).method == "HEAD":
            await send({"type": "http.response.body"})
            return
        with self._feed.listening(self._listener) as channel:
            telling = asyncio.create_task(self._tell(channel, send))
            leaving = asyncio.create_task(until_gone(receive))
            try:
                await asyncio.wait({telling, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if not telling.done():
                    raise ClientGone
                telling.result()
            finally:
                for task in (telling, leaving):
                    task.cancel()
                await asyncio.gather(telling, leaving, return_exceptions=True)

    async def _tell(self, channel: Channel, send: Send) -> None:
        piece = self._listener.greet()
        try:
            while self._credentials is None or await self._credentials.hold():
                async with asyncio.timeout(STUCK_S):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                piece = await self._listener.next(channel)
            await send({"type": "http.response.body", "body": _EXPIRED})
        except TimeoutError as error:
            _log.warning("an event feed is closed: its listener has taken nothing for %.0f s", STUCK_S)
            raise ClientGone from error
