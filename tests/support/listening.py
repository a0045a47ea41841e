"""Programs that listen: started, waited for, and ended.

port = free_port()
with listening([sys.executable, "-m", "tmws_mcp_bridge", "--http", str(port)], port, environment):
    ...
"""

import socket
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress

from support.waiting import eventually

START_TIMEOUT_S = 60.0


@contextmanager
def listening(command: Sequence[str], port: int, environment: Mapping[str, str] | None = None) -> Generator[None]:
    """Run a program, its standard error unheard, from when it listens on a port of the loopback.

    Raises:
        TimeoutError: it does not listen within a minute.
        RuntimeError: it has ended before.
    """
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as program:
        try:
            if not eventually(lambda: program.poll() is not None or can_connect(port), START_TIMEOUT_S):
                raise TimeoutError(command)
            if program.returncode is not None:
                raise RuntimeError(f"{command} ended with {program.returncode}")
            yield
        finally:
            program.terminate()


def can_connect(port: int) -> bool:
    """Whether somebody listens on a port of the loopback."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
