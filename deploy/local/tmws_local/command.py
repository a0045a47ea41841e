"""A program to start: its arguments, its whole environment and the account it runs as."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tmws_local.errors import StackError

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Account:
    """A user of this machine that a program runs as."""

    name: str
    uid: int
    gid: int


def bare_environment() -> dict[str, str]:
    """Return an environment for programs that need nothing of ours."""
    kept = ("PATH", "TMPDIR", "SYSTEMROOT", "TEMP", "TZ")
    return {"LC_ALL": "C", **{name: os.environ[name] for name in kept if name in os.environ}}


@dataclass(frozen=True)
class Command:
    """A program with its arguments.

    `account` None means the account of this process. `death_signal` reaches the program when this
    process dies, however that happens (Linux only).
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=bare_environment)
    account: Account | None = None
    death_signal: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Return the keyword arguments that `subprocess` and `asyncio` need to start it."""
        options: dict[str, Any] = {"env": dict(self.environment), "cwd": Path.cwd().anchor}
        if self.account is not None:
            options |= {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}
        if self.death_signal is not None and sys.platform == "linux":
            options["preexec_fn"] = partial(_ask_for_signal, ctypes.CDLL(None), self.death_signal)
        return options


def _ask_for_signal(libc: ctypes.CDLL, number: int) -> None:
    """Run in the child, after its account is set: a change of account would undo this."""
    libc.prctl(_PR_SET_PDEATHSIG, number)


def run(command: Command, *, stdin: str = "", timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run the program to its end and return its output.

    Raises:
        StackError: it cannot be started or does not end in time.
    """
    program = Path(command.argv[0]).name
    try:
        return subprocess.run(  # noqa: S603 - every argument is the stack's own
            command.argv,
            **command.options,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"{program} did not finish within {timeout_s:.0f} s") from None
    except OSError as error:
        raise StackError(f"{program} cannot be started: {error.strerror}") from error


def first_error(output: str) -> str:
    """Return the line in which one of PostgreSQL's programs says what went wrong, with its hint."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    signs = ("No space left", "FATAL:", "ERROR:", "error:", "failed:")
    errors = [line for sign in signs for line in lines if sign in line]
    first = (errors or lines or ["no reason given"])[0].removeprefix("psql: ").removeprefix("error: ")
    hint = next((line.partition(":")[2].strip() for line in lines if line.startswith("HINT:")), "")
    return f"{first}. {hint}" if hint else first
