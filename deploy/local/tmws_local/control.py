"""`tmws down`, `status` and `logs`: what is done to a stack from outside."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tmws_local import logs
from tmws_local.configuration import data_paths, read_variables
from tmws_local.errors import StackError
from tmws_local.paths import Paths
from tmws_local.postgres import Postgres
from tmws_local.state import holder, read_state

EXIT_NOT_RUNNING = 3  # as `service … status` says it (LSB)
_STOP_TIMEOUT_S = 30.0
_POLL_S = 0.05


def _paths(environ: Mapping[str, str], folder: Path) -> Paths:
    return data_paths(read_variables(environ, folder), folder)


def stop(environ: Mapping[str, str], folder: Path) -> int:
    """Stop the stack of this data directory, with whatever an earlier one left running."""
    paths = _paths(environ, folder)
    pid = holder(paths)
    if pid is None:
        return _stop_leftover(paths)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while holder(paths) == pid:
        if time.monotonic() > deadline:
            raise StackError(f"TMWS (pid {pid}) does not stop; see {paths.logs}")
        time.sleep(_POLL_S)
    sys.stdout.write("Stopped\n")
    return 0


def _stop_leftover(paths: Paths) -> int:
    left = paths.postgres.exists() and Postgres(paths.postgres, paths.sockets / "postgres", "").stop_leftover()
    sys.stdout.write("Stopped what an earlier run had left\n" if left else f"TMWS is not running ({paths.data})\n")
    return 0


def show_status(environ: Mapping[str, str], folder: Path) -> int:
    """Print each process; the exit code is 0 when all are ready, 1 when not, 3 when nothing runs."""
    paths = _paths(environ, folder)
    if holder(paths) is None:
        sys.stdout.write(f"TMWS is not running ({paths.data})\n")
        return EXIT_NOT_RUNNING
    url, processes = read_state(paths)
    sys.stdout.write(f"{url}  {paths.data}\n\n{'process':<18}{'state':<12}{'pid':>8}{'restarts':>10}{'since':>10}\n")
    for each in processes:
        since = f"{max(time.time() - each.since, 0):.0f} s"
        sys.stdout.write(f"{each.name:<18}{each.state:<12}{each.pid or '-':>8}{each.restarts:>10}{since:>10}\n")
    return 0 if all(each.state == "ready" for each in processes) else 1


def show_logs(environ: Mapping[str, str], folder: Path, name: str | None, lines: int, *, follow: bool) -> int:
    """Print the last lines of one log or of all.

    Raises:
        StackError: there is no such log.
    """
    paths = _paths(environ, folder)
    found = sorted(paths.logs.glob("*.log"))
    chosen = [log for log in found if name in {None, log.stem}]
    if not chosen:
        known = ", ".join(log.stem for log in found) or "none yet"
        raise StackError(f"There is no log of {name or 'anything'} in {paths.logs}; there are: {known}")
    logs.show(chosen, lines, follow=follow)
    return 0
