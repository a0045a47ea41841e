"""A transport that goes nowhere: what was written to it, and what was done with it."""

import asyncio


class FakeTransport(asyncio.Transport):
    """Remembers everything; closing it tells nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_reading_paused = False
        self.is_gone = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Remember the bytes."""
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        """Whether it was closed or aborted."""
        return self.is_gone

    def close(self) -> None:
        """Be closed."""
        self.is_gone = True

    def abort(self) -> None:
        """Be closed."""
        self.is_gone = True

    def pause_reading(self) -> None:
        """Remember that nothing more may come."""
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        """Remember that more may come."""
        self.is_reading_paused = False
