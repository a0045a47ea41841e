"""The command line of the embedded stack: `tmws up`, `down`, `status`, `logs`, `keys`, `audit`, `doctor`, `version`."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tmws_local.errors import StackError

_COMMANDS = {
    "up": "start everything and stay in the foreground until Ctrl-C",
    "down": "stop the stack of this data directory",
    "status": "show what runs",
    "logs": "show the logs, of one process or of all",
    "demo": "show what TMWS is for, on the running stack or on one of its own",
    "doctor": "look for what could keep the stack from working",
    "keys": "manage API keys (see: tmws keys --help)",
    "audit": "check and export the audit log (see: tmws audit --help)",
    "install": "put TMWS into the configuration of an MCP client",
    "uninstall": "take TMWS out of the configuration of an MCP client",
    "version": "print the version",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; trouble is told in one sentence."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments[:1] in (["keys"], ["audit"]):  # their options are not ours to parse
        return _told(lambda: _gateway_tool(arguments[0], arguments[1:]))
    options = _parser(arguments[0] if arguments else "").parse_args(arguments)
    runners = {
        "up": _up,
        "down": _down,
        "status": _status,
        "logs": _logs,
        "demo": _demo,
        "doctor": _doctor,
        "install": _install,
        "uninstall": _uninstall,
        "version": _version,
    }
    return _told(lambda: runners[options.command](options))


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tmws", description="All of TMWS on this machine, without containers.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {name: commands.add_parser(name, help=text, description=text) for name, text in _COMMANDS.items()}
    parsers["up"].add_argument("--detach", "-d", action="store_true", help="go on in the background once ready")
    parsers["logs"].add_argument("--follow", "-f", action="store_true", help="go on with what is added")
    parsers["logs"].add_argument("--lines", "-n", type=int, default=20, help="lines of each log (default 20)")
    parsers["logs"].add_argument("service", nargs="?", help="one process, such as task-worker or postgres")
    if command in parsers and command in {"install", "uninstall"}:
        from tmws_local import install

        install.add_options(parsers[command], installs=command == "install")
    return parser


def _told(command: Callable[[], int]) -> int:
    """Run the command; what is wrong outside of it becomes one sentence and an exit code."""
    try:
        return command()
    except StackError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}:
            raise
        sys.stderr.write(f"{error.strerror}: {error.filename or 'the data directory'}\n")
        return 1


# Each command imports what it needs: `tmws status` must not wait for what `tmws up` wants.
def _up(options: argparse.Namespace) -> int:
    from tmws_local import up

    if options.detach:
        return up.start_detached(os.environ, Path.cwd())
    return up.start(os.environ, Path.cwd())


def _down(_: argparse.Namespace) -> int:
    from tmws_local import control

    return control.stop(os.environ, Path.cwd())


def _status(_: argparse.Namespace) -> int:
    from tmws_local import control

    return control.show_status(os.environ, Path.cwd())


def _logs(options: argparse.Namespace) -> int:
    from tmws_local import control

    return control.show_logs(os.environ, Path.cwd(), options.service, options.lines, follow=options.follow)


def _demo(_: argparse.Namespace) -> int:
    from tmws_local.demo import program

    return program.show(os.environ, Path.cwd())


def _doctor(_: argparse.Namespace) -> int:
    from tmws_local import doctor

    return doctor.examine(os.environ, Path.cwd())


def _install(options: argparse.Namespace) -> int:
    from tmws_local import install

    return install.install(options, os.environ, Path.cwd())


def _uninstall(options: argparse.Namespace) -> int:
    from tmws_local import install

    return install.uninstall(options, os.environ, Path.cwd())


def _gateway_tool(name: str, arguments: Sequence[str]) -> int:
    from tmws_local import up

    return up.run_gateway_tool(os.environ, Path.cwd(), name, arguments)


def _version(_: argparse.Namespace) -> int:
    from tmws_local.state import our_version

    sys.stdout.write(f"tmws {our_version()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
