"""Whether the public port is free, and if not, who has it."""

from __future__ import annotations

import errno
import socket

import psutil

from tmws_local.configuration import StackSettings
from tmws_local.errors import PortTaken, StackError


def check_port(settings: StackSettings) -> None:
    """Refuse a public address that cannot be listened on.

    Raises:
        PortTaken: somebody listens there already.
        StackError: the address is not one of this machine, or needs more rights.
    """
    host, port = settings.api_host, settings.api_port
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"Port {port} is taken{_by_whom(port)}, or set TMWS_API_PORT to another port") from None
        raise StackError(f"TMWS cannot listen on {host} port {port}: {error.strerror}") from None


def _by_whom(port: int) -> str:
    """Return `by …` and what to do about it, as the middle of a sentence."""
    process = _listener(port)
    if process is None:
        return " by another program: stop that one"
    try:
        line = " ".join(process.cmdline())
    except psutil.Error:
        line = process.name()
    if "tmws_gateway" in line:
        return f" by another TMWS (pid {process.pid}): stop it with ./taskw down where it was started"
    return f" by {process.name()} (pid {process.pid}): stop it"


def _listener(port: int) -> psutil.Process | None:
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr[1] == port
            if listens and connection.pid:
                return psutil.Process(connection.pid)
    except psutil.Error:  # macOS shows other processes' connections to root only
        return None
    return None
