"""Lines for the person who started the stack, and a sign of life while they wait."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

_TICK_S = 0.5
_QUIET_TICKS_OFF_TERMINAL = 20


class Console:
    """Writes lines; on a terminal also one line that is replaced until the next one comes."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._started = time.monotonic()
        self._has_status = False

    def say(self, line: str) -> None:
        """Write a line."""
        self._write(("\r\x1b[K" if self._has_status else "") + line + "\n")
        self._has_status = False

    def elapsed_s(self) -> float:
        """Return how long ago this was made."""
        return time.monotonic() - self._started

    async def show_waiting(self, waiting_for: Callable[[], str]) -> None:
        """Show again and again what is waited for, until cancelled."""
        ticks = 0
        while True:
            await asyncio.sleep(_TICK_S)
            ticks += 1
            text = f"  waiting for {waiting_for()} ({self.elapsed_s():.0f} s)"
            if self._is_terminal:
                self._write(f"\r\x1b[K{text[:78]}")
                self._has_status = True
            elif ticks % _QUIET_TICKS_OFF_TERMINAL == 0:
                self.say(text)

    def clear(self) -> None:
        """Take the replaceable line away."""
        if self._has_status:
            self._write("\r\x1b[K")
            self._has_status = False

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except (BrokenPipeError, OSError):
            # Nobody reads any more (a closed terminal); the stack itself goes on.
            sys.stdout = open("/dev/null" if sys.platform != "win32" else "NUL", "w", encoding="utf-8")  # noqa: SIM115, PTH123 - kept open for good
