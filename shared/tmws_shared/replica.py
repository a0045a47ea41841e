"""One process of a service: its connections, and whether it seems to work."""

from __future__ import annotations

from enum import StrEnum
from time import monotonic

from tmws_shared.framing import Request, encode
from tmws_shared.pool import Address, Pool
from tmws_shared.reply import Busy, NotAnswered, NotConnected, Reply, UpstreamError

FAILURES_TO_EJECT = 3
FIRST_OUT_S = 0.5
LONGEST_OUT_S = 30.0
# Who has worked for so long is as good as new.
FORGIVEN_AFTER_S = 60.0
PROBE_TIMEOUT_S = 2.0
_MAX_READY_BYTES = 16 * 1024
_READYZ = Request("GET", b"/readyz")


class State(StrEnum):
    """What is thought of a replica."""

    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"


class Replica:
    """A process that listens at `address`; `host` is the Host it is asked under.

    Requests fail several times in a row: suspect. A question for `/readyz` fails, too: down. Only an answer to such a
    question brings it back, after a time that doubles each time.
    """

    def __init__(self, address: Address, host: bytes, max_connections: int, max_streams: int) -> None:
        self.address = address
        self.ordinary = Pool(address, max_connections)
        # Streams last, and who waits for work waits: they must not take the connections that other requests share.
        self.long = Pool(address, max_streams)
        self.state = State.UP
        self.answers = 0
        self.out_until = 0.0
        self._host = host
        self._probes = Pool(address, 1)
        self._failures = 0
        self._ejections = 0
        self._up_since = 0.0
        self._seen_answers = -1
        self._was_late = False

    async def ask(self, request: Request, deadline: float, *, is_long: bool) -> Reply:
        """Send a request and return its answer as soon as the head is there.

        Raises:
            UpstreamError: there is no answer.
            TimeoutError: the head did not come until the moment `deadline`.
            ValueError: the request is not fit to be sent.
        """
        pool = self.long if is_long else self.ordinary
        try:
            encoded = encode(request, self._host)
            reply = pool.ask(request, encoded) or await pool.ask_soon(request, encoded, deadline)
            await reply.begin(deadline)
        except Busy:
            raise
        except (NotConnected, NotAnswered):
            # A streamed body may be the reason itself.
            self._failures += not request.is_streamed
            if self.state is State.SUSPECT:
                self.state = State.DOWN
            raise
        except TimeoutError:
            # The question may have been hard: only a probe that fails, too, is held against the replica.
            self._was_late = True
            raise
        self._failures = 0
        self.answers += 1
        return reply

    @property
    def is_failing(self) -> bool:
        """Whether it has just become suspect."""
        return self.state is State.UP and self._failures >= FAILURES_TO_EJECT

    @property
    def is_doubtful(self) -> bool:
        """Whether it is out, or an answer of its came too late."""
        return self.state is not State.UP or self._was_late

    def has_been_silent(self) -> bool:
        """Whether requests wait and none was answered since the last time this was asked."""
        is_silent = self.answers == self._seen_answers and self.ordinary.busy > 0
        self._seen_answers = self.answers
        return is_silent

    def suspect(self) -> None:
        """Put it out; each time soon after the last one for twice as long."""
        if monotonic() - self._up_since > FORGIVEN_AFTER_S:
            self._ejections = 0
        self.out_until = monotonic() + min(FIRST_OUT_S * 2**self._ejections, LONGEST_OUT_S)
        self._ejections += 1
        self.state = State.SUSPECT
        self.drop_idle()

    def drop_idle(self) -> None:
        """Close the connections nobody uses: they are most likely of the same age as one that was closed."""
        self.ordinary.drop_idle()
        self.long.drop_idle()

    async def probe(self) -> bool:
        """Ask whether it is ready, and note what comes of it."""
        self._probes.drop_idle()
        is_ready = await self._is_ready()
        if is_ready and self.state is not State.UP:
            self._up_since = monotonic()
        self.state = State.UP if is_ready else State.DOWN
        self._failures = 0
        self._was_late = False
        return is_ready

    async def _is_ready(self) -> bool:
        deadline = monotonic() + PROBE_TIMEOUT_S
        try:
            reply = await self._probes.ask_soon(_READYZ, encode(_READYZ, self._host), deadline)
            try:
                await reply.begin(deadline)
                await reply.read(deadline - monotonic(), _MAX_READY_BYTES)
            finally:
                await reply.close()
        except (UpstreamError, TimeoutError):
            return False
        return reply.status == 200

    def retire(self) -> None:
        """Let what is on its way end, and take no more."""
        for pool in (self.ordinary, self.long, self._probes):
            pool.retire()

    async def close(self) -> None:
        """Close the connections."""
        for pool in (self.ordinary, self.long, self._probes):
            await pool.close()
