"""The head of the chain as this gateway saw it last, signed: what was cut off shows before the next checkpoint, too."""

from __future__ import annotations

import os
from pathlib import Path

from tmws_gateway.chain.signing import Checkpoint


class HeadFile:
    """One line of JSON, replaced at every write; after a crash of the machine it may be empty."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.noted = self.read()

    def read(self) -> Checkpoint | None:
        """Return what is in the file; None when there is none, or it is damaged."""
        try:
            return Checkpoint.parse(self._path.read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def write(self, head: Checkpoint) -> None:
        """Replace what is in the file.

        Raises:
            OSError: the disk does not take it.
        """
        draft = self._path.with_suffix(f".{os.getpid()}.draft")
        draft.write_bytes(head.line())
        draft.replace(self._path)
        self.noted = head
