"""Keeps one process running: starts it, waits until it is ready, brings it back when it dies, stops it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tmws_local.command import Command
from tmws_local.errors import ConfigurationRefused, StackError
from tmws_local.logs import tail
from tmws_local.state import ProcessState

READY_POLL_S = 0.05
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 30.0
STEADY_S = 30.0  # after so long a life the next death is a first one again
START_ATTEMPTS = 3
STOP_GRACE_S = 25.0  # the services drain for 20 s at most
_SHOWN_LINES = 12


@dataclass(frozen=True)
class Unit:
    """One process to keep running.

    `prepare` runs before each start and `settle` after each time it became ready, both in a thread.
    It starts once all of `needs` are ready and stops once all that need it, or call it, have stopped.
    """

    name: str
    command: Callable[[], Command]
    is_ready: Callable[[], Awaitable[bool]]
    log: Path
    needs: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    prepare: Callable[[], object] | None = None
    settle: Callable[[], object] | None = None
    stop_signal: int = signal.SIGTERM
    holds_stdin: bool = True


@dataclass(frozen=True)
class End:
    """How a process ended: its exit code, negative for a signal, and what went wrong before if known."""

    code: int
    trouble: str | None = None

    @property
    def reason(self) -> str:
        """Say it as the rest of a sentence that begins with the name of the process."""
        if self.trouble is not None:
            return f"could not be started: {self.trouble}"
        if self.code >= 0:
            return f"ended with exit code {self.code}"
        with suppress(ValueError):
            return f"was ended by {signal.Signals(-self.code).name}"
        return f"was ended by signal {-self.code}"


@dataclass
class Keeper:
    """The life of one unit; `say` tells the person, `note` records a change of state."""

    unit: Unit
    say: Callable[[str], None]
    note: Callable[[], None]
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    restarts: int = 0
    _state: str = "waiting"
    _was_started: bool = False
    _was_ready: bool = False
    _since: float = field(default_factory=time.time)
    _process: asyncio.subprocess.Process | None = None
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _log_start: int = 0

    def snapshot(self) -> ProcessState:
        """Return its state now."""
        pid = self._process.pid if self._process is not None and self._process.returncode is None else None
        return ProcessState(self.unit.name, self._state, pid, self.restarts, self._since)

    @property
    def was_started(self) -> bool:
        """Whether `keep` has begun, that is, everything it needs was ready once."""
        return self._was_started

    async def keep(self) -> None:
        """Run the process until `stop`.

        Raises:
            StackError: it never came up, so that starting it again would not help.
        """
        self._was_started = True
        failures = 0
        while not self._stopping.is_set():
            born = time.monotonic()
            end = await self._live()
            if self._stopping.is_set():
                return
            failures = 1 if time.monotonic() - born > STEADY_S else failures + 1
            if not self._was_ready:
                self._give_up_if_hopeless(end, failures)
            elif end.code == ConfigurationRefused.exit_code:
                self._change("failed")
                self.say(f"{self.unit.name} refuses its settings and stays down; see {self.unit.log}")
                await self._stopping.wait()
                return
            await self._pause(end, failures)

    async def stop(self) -> None:
        """Ask the process to end, and make it end after the grace."""
        self._stopping.set()
        process = self._process
        if process is not None and process.returncode is None:
            self._change("stopping")
            _send(process, self.unit.stop_signal)
            if process.stdin is not None:
                process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), STOP_GRACE_S)
            except TimeoutError:
                self.say(f"{self.unit.name} did not stop within {STOP_GRACE_S:.0f} s and was killed")
                self.kill()
                await process.wait()
        self._change("stopped")

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None and self._process.returncode is None:
            _send(self._process, signal.SIGKILL)

    async def _live(self) -> End:
        """Run the process once, from its preparation to its end."""
        self._change("starting")
        try:
            if self.unit.prepare is not None:
                await asyncio.to_thread(self.unit.prepare)
            return End(0) if self._stopping.is_set() else await self._run()
        except (StackError, OSError) as error:
            if not self._was_ready:
                raise
            return End(1, str(error))
        finally:
            self.ready.clear()

    async def _run(self) -> End:
        process = await self._spawn()
        if self._stopping.is_set():
            _send(process, self.unit.stop_signal)
        ended = asyncio.create_task(process.wait())
        became_ready = asyncio.create_task(self._await_ready())
        try:
            await asyncio.wait({ended, became_ready}, return_when=asyncio.FIRST_COMPLETED)
            if became_ready.done():
                became_ready.result()
            return End(await ended)
        finally:
            became_ready.cancel()

    async def _spawn(self) -> asyncio.subprocess.Process:
        command = self.unit.command()
        with self.unit.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                *command.argv,
                **command.options,
                stdin=asyncio.subprocess.PIPE if self.unit.holds_stdin else asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C in the terminal is for the supervisor alone, which stops all in order.
                start_new_session=True,
            )
        self._change("starting")
        return self._process

    async def _await_ready(self) -> None:
        started = time.monotonic()
        while not await self.unit.is_ready():  # noqa: ASYNC110 - another process, it has no event to wait for
            await asyncio.sleep(READY_POLL_S)
        if self.unit.settle is not None and not self._was_ready:
            await asyncio.to_thread(self.unit.settle)
        took = f"{time.monotonic() - started:.1f} s"
        self.say(f"{self.unit.name} is back ({took})" if self.restarts else f"  {self.unit.name} is ready ({took})")
        self._was_ready = True
        self._change("ready")
        self.ready.set()

    def _give_up_if_hopeless(self, end: End, failures: int) -> None:
        said = "\n".join(f"    {line}" for line in tail(self.unit.log, _SHOWN_LINES, self._log_start))
        if end.code == ConfigurationRefused.exit_code:
            self._change("failed")
            raise ConfigurationRefused(f"{self.unit.name} refuses its settings:\n{said}")
        if failures >= START_ATTEMPTS:
            self._change("failed")
            raise StackError(f"{self.unit.name} does not start (tried {failures} times); see {self.unit.log}")
        self.say(f"{self.unit.name} {end.reason} before it was ready; its last words:\n{said}")

    async def _pause(self, end: End, failures: int) -> None:
        pause_s = min(FIRST_PAUSE_S * 2 ** (failures - 1), LONGEST_PAUSE_S)
        if self._was_ready:
            self.say(f"{self.unit.name} {end.reason}; starting it again in {pause_s:.1f} s")
        self.restarts += 1
        self._change("restarting")
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), pause_s)

    def _change(self, state: str) -> None:
        self._state = state
        self._since = time.time()
        self.note()


def _send(process: asyncio.subprocess.Process, number: int) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(number)
