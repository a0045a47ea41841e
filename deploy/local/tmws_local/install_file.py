"""Reads and writes a client's configuration: whole or not at all, with a copy of what was there before."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from difflib import unified_diff
from pathlib import Path

from tmws_local.errors import StackError

_BOM = "\ufeff"
_PRIVATE = 0o600


def read_text(path: Path) -> str:
    """Return the text of the file; empty when there is none.

    Raises:
        StackError: it cannot be read, or is no UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise StackError(f"{path} is left as it is: it is not UTF-8 text") from None
    except OSError as error:
        raise StackError(f"{path} cannot be read: {error.strerror}") from None


def split_mark(text: str) -> tuple[str, str]:
    """Return the byte order mark that some editors write, or nothing, and the text after it."""
    return (_BOM, text.removeprefix(_BOM)) if text.startswith(_BOM) else ("", text)


def replace_text(path: Path, before: str, after: str) -> Path | None:
    """Write the text and return the copy of what was there, or None when there was nothing.

    Raises:
        StackError: the file cannot be written, or somebody else changed it since `before` was read.
    """
    # A configuration may be a link into somebody's collection of dotfiles, which stays one.
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = _write_beside(target, after)
        try:
            if read_text(target) != before:
                raise StackError(f"{path} was changed in this moment by another program: run this again")
            copy = _copy(target)
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise StackError(f"{path} cannot be written: {error.strerror}") from None
    return copy


def _write_beside(target: Path, text: str) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    fresh = Path(name)
    fresh.chmod(target.stat().st_mode & 0o777 if target.exists() else _PRIVATE)
    return fresh


def _copy(target: Path) -> Path | None:
    if not target.exists():
        return None
    copy = target.with_name(f"{target.name}.{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}.bak")
    shutil.copy2(target, copy)
    return copy


def show_difference(path: Path, before: str, after: str) -> None:
    """Print the lines that change, and no others: they may hold secrets of other servers."""
    lines = unified_diff(before.splitlines(), after.splitlines(), str(path), str(path), lineterm="", n=0)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
