"""A small program in the place of a service, for tests of the supervisor.

    python tests/support/fake_process.py FOLDER NAME [--code N | --deaf]

It answers 200 on the unix socket FOLDER/NAME.sock and appends its life to FOLDER/events:
`NAME up`, `NAME term`, `NAME down`. `--code N` says so on stderr and exits with N at once;
`--deaf` ignores SIGTERM and the end of standard input, at which it would end otherwise.
"""

import signal
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return

    def address_string(self) -> str:
        return "unix"


def main() -> int:
    """Live until told to end."""
    folder, name, *options = sys.argv[1:]
    if options[:1] == ["--code"]:
        sys.stderr.write(f"{name} has nothing to live for\n")
        return int(options[1])
    path = Path(folder)

    def note(event: str) -> None:
        with (path / "events").open("a") as file:
            file.write(f"{name} {event}\n")

    (path / f"{name}.sock").unlink(missing_ok=True)
    server = socketserver.ThreadingUnixStreamServer(str(path / f"{name}.sock"), _Handler)
    server.daemon_threads = True
    ended = threading.Event()

    def end(*_: object) -> None:
        note("term")
        if "--deaf" not in options:
            ended.set()

    def watch_stdin() -> None:
        sys.stdin.read()
        if "--deaf" not in options:
            ended.set()

    signal.signal(signal.SIGTERM, end)
    # Before it answers: from then on it may be told to end.
    note("up")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Thread(target=watch_stdin, daemon=True).start()
    while not ended.wait(0.05):
        pass
    note("down")
    return 0


if __name__ == "__main__":
    sys.exit(main())
