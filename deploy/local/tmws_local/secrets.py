"""Secrets the stack makes for itself: files for their owner only, made once."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

_SECRET_BYTES = 48


def secret_file(path: Path) -> str:
    """Return the secret in the file, which is made when it is missing."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(_SECRET_BYTES))
    return path.read_text(encoding="ascii").strip()


def write_private(path: Path, text: str) -> None:
    """Write the file with mode 0600, whole or not at all."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
