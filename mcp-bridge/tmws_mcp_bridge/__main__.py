"""The console script `tmws-mcp`."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tmws_mcp_bridge.settings import BridgeSettings
from tmws_shared.settings import EXIT_CONFIGURATION, ConfigurationError

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def main(arguments: list[str] | None = None) -> int:
    """Serve MCP on standard input and output, or over HTTP, until the client goes away."""
    options = _parser().parse_args(arguments)
    try:
        settings = BridgeSettings.from_environment()
    except ConfigurationError as error:
        sys.stderr.write("tmws-mcp cannot start:\n" + "".join(f"  - {problem}\n" for problem in error.problems))
        return EXIT_CONFIGURATION
    _set_up_logs(settings.log_level)
    if options.http is None:
        _serve_stdio(settings)
    else:
        _serve_http(settings, options.http)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tmws-mcp", description="TMWS for MCP clients; stdio unless told otherwise")
    parser.add_argument(
        "--http",
        metavar="[HOST:]PORT | unix:///PATH",
        type=_address,
        help="serve streamable HTTP at /mcp; HOST is 127.0.0.1 by default",
    )
    parser.add_argument("--version", action="version", version=version("tmws-mcp-bridge"))
    return parser


def _address(text: str) -> dict[str, str | int]:
    """Return where to listen, as uvicorn has it."""
    if text.startswith("unix:///"):
        return {"uds": text.removeprefix("unix://")}
    host, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError("must be PORT, HOST:PORT or unix:///PATH")
    return {"host": host.strip("[]") or "127.0.0.1", "port": int(port)}


def _set_up_logs(level: str) -> None:
    """Send logs to stderr, since stdout belongs to the protocol; traces to the OTLP endpoint when one is set."""
    # fastmcp reads these when it is imported: a file `.env` of the client's folder is not ours to obey.
    os.environ |= {"FASTMCP_ENV_FILE": os.devnull, "FASTMCP_LOG_ENABLED": "false"}
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        from tmws_shared import telemetry  # imported here: without an endpoint nobody pays for it

        telemetry.set_up("mcp-bridge", level)
        return
    logging.basicConfig(level=level.upper(), format=_LOG_FORMAT, stream=sys.stderr)
    for chatty in ("httpx2", "httpcore2", "mcp", "fastmcp"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _serve_stdio(settings: BridgeSettings) -> None:
    from tmws_mcp_bridge.client import for_one_user
    from tmws_mcp_bridge.server import create_server
    from tmws_mcp_bridge.stdio import serve

    # Python's own handler would wait for the thread that reads standard input; there is nothing to save.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    serve(create_server(for_one_user(settings), profile=settings.mcp_profile))


def _serve_http(settings: BridgeSettings, listen: dict[str, Any]) -> None:
    import uvicorn

    from tmws_mcp_bridge.server import create_http_app
    from tmws_shared.parent import exit_with_stdin

    # On a socket our own gateway asks; it has looked at the caller's Host and Origin, and calls us this.
    app = create_http_app(settings, listen.get("host", "service"))
    if settings.exit_with_stdin:
        exit_with_stdin()
    if "uds" in listen:
        Path(listen["uds"]).unlink(missing_ok=True)
    # uvicorn raises the signal again once it has drained; a stop that was asked for is a success.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _drained)
    uvicorn.run(
        app, **listen, http="httptools", ws="none", log_config=None, access_log=False, server_header=False,
        proxy_headers=False, timeout_graceful_shutdown=2,
    )  # fmt: skip


def _drained(_number: int, _frame: object) -> None:
    """Let the program end by itself."""


if __name__ == "__main__":
    sys.exit(main())
