"""Starts the units in waves of what they need, keeps them running, stops them in reverse."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from tmws_local.console import Console
from tmws_local.errors import StackError
from tmws_local.keeper import Keeper, Unit
from tmws_local.state import ProcessState

_STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Supervisor:
    """All units of one stack; `record` gets every change of their states."""

    def __init__(
        self, units: Sequence[Unit], console: Console, record: Callable[[Sequence[ProcessState]], None]
    ) -> None:
        self._console = console
        self._record = record
        self._keepers = {unit.name: Keeper(unit, console.say, self._note) for unit in units}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stop = asyncio.Event()

    async def run(self, when_ready: Callable[[], Awaitable[None]]) -> None:
        """Bring everything up, await `when_ready`, and keep all running until a signal says stop.

        Raises:
            StackError: something does not come up; everything has been stopped by then.
        """
        self._listen_for_signals()
        failed = asyncio.create_task(self._keep_all())
        stop = asyncio.create_task(self._stop.wait())
        up = asyncio.create_task(self._until_ready(when_ready))
        try:
            await asyncio.wait({failed, stop, up}, return_when=asyncio.FIRST_COMPLETED)
            if up.done():
                up.result()
                await asyncio.wait({failed, stop}, return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                failed.result()
        finally:
            for task in (up, stop):
                task.cancel()
            self._console.clear()
            await self._stop_all()
            with suppress(asyncio.CancelledError, StackError):
                await failed

    def _listen_for_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            try:
                loop.add_signal_handler(number, self._on_signal, number)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda which, _: loop.call_soon_threadsafe(self._on_signal, which))

    def _on_signal(self, number: int) -> None:
        if self._stop.is_set() and number == signal.SIGINT:
            self._console.say("Stopping at once")
            for keeper in self._keepers.values():
                keeper.kill()
        self._stop.set()

    async def _keep_all(self) -> None:
        """Keep every unit running; ends early only with the first error."""
        self._tasks = {name: asyncio.create_task(self._keep(keeper)) for name, keeper in self._keepers.items()}
        done, _ = await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    async def _keep(self, keeper: Keeper) -> None:
        for name in keeper.unit.needs:
            await self._keepers[name].ready.wait()
        await keeper.keep()

    async def _until_ready(self, when_ready: Callable[[], Awaitable[None]]) -> None:
        waiting = asyncio.create_task(self._console.show_waiting(self._names_not_ready))
        try:
            for keeper in self._keepers.values():
                await keeper.ready.wait()
            await when_ready()
        finally:
            waiting.cancel()

    def _names_not_ready(self) -> str:
        names = [name for name, keeper in self._keepers.items() if not keeper.ready.is_set()]
        return ", ".join(names) or "the last touches"

    async def _stop_all(self) -> None:
        self._console.say("Stopping")
        await asyncio.gather(*(self._stop_in_order(keeper) for keeper in self._keepers.values()))
        self._console.say("Stopped")

    async def _stop_in_order(self, keeper: Keeper) -> None:
        name = keeper.unit.name
        for other in self._keepers.values():
            if name in other.unit.needs or name in other.unit.calls:
                await other.stopped.wait()
        await keeper.stop()
        task = self._tasks[name]
        if not keeper.was_started:
            task.cancel()
        await asyncio.wait({task})
        keeper.stopped.set()

    def _note(self) -> None:
        self._record([keeper.snapshot() for keeper in self._keepers.values()])
