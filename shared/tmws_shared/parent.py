"""A process that ends with the one that started it."""

from __future__ import annotations

import os
import signal
import threading


def exit_with_stdin() -> None:
    """From now on, stop this process as SIGTERM does when its standard input ends: whoever holds it is gone."""
    threading.Thread(target=_wait, daemon=True).start()


def _wait() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
