"""`tmws doctor` finds what keeps a client from working, and says what to do."""

import json
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID

import pytest

from tmws_local.cli import main
from tmws_local.doctor_clients import checks_of_clients, look_at_path
from tmws_local.doctor_gateway import GatewayCheck
from tmws_local.errors import StackError
from tmws_local.paths import Paths


class Answering(BaseHTTPRequestHandler):
    """Answers as a gateway would, with the clock and the opinion of keys that its server has."""

    def do_GET(self):
        accepted = self.headers.get("authorization") == self.server.accepted
        self.send_response_only(200 if accepted or self.path == "/livez" else 401)
        told = self.server.clock(datetime.now(UTC) + self.server.ahead)
        for name, value in {**self.server.said, **told}.items():
            self.send_header(name, value)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        server.ahead, server.said, server.accepted = timedelta(0), {"x-request-id": "1"}, None
        server.clock = lambda _: {}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def check(server, tmp_path):
    def make(**environ):
        return GatewayCheck(f"http://127.0.0.1:{server.server_port}", Paths(tmp_path), environ)

    return make


def test_another_program_on_the_port_is_recognised(server, check):
    server.said = {}
    with pytest.raises(StackError, match="is not TMWS: set TMWS_URL"):
        check().answers()


def test_a_gateway_that_is_down_is_said_to_be(tmp_path):
    with pytest.raises(StackError, match=r"nothing answers .*: start it with \./taskw up"):
        GatewayCheck("http://127.0.0.1:9", Paths(tmp_path), {}).answers()


def by_id(now):
    """Tell the time as the gateway does, which sends no Date."""
    return {"x-request-id": str(UUID(int=int(now.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62))}


def by_date(now):
    """Tell the time as a proxy in front does."""
    return {"date": format_datetime(now, usegmt=True)}


@pytest.mark.parametrize("clock", [by_id, by_date])
@pytest.mark.parametrize("ahead_s", [-120, 120])
def test_a_clock_that_is_wrong_is_found(server, check, ahead_s, clock):
    server.clock, server.ahead = clock, timedelta(seconds=ahead_s)
    with pytest.raises(StackError, match=r"1[12]\d s apart: set both by NTP"):
        check().clock()


@pytest.mark.parametrize("clock", [by_id, by_date])
def test_a_clock_that_is_right_is_well(server, check, clock):
    server.clock = clock
    assert check().clock() == "the clock agrees with the gateway's"


@pytest.mark.parametrize("request_id", ["1", "6f1c0f5e-9d53-4b0e-9b5e-0d6f0c1a2b3c"])
def test_a_gateway_whose_ids_tell_no_time_is_no_fault(server, check, request_id):
    server.said = {"x-request-id": request_id}
    assert check().clock() == "the gateway does not tell the time"


def test_a_wrong_key_is_named_by_its_place_and_never_shown(server, check, tmp_path):
    server.accepted = "Bearer right"
    (tmp_path / "key").write_text("hunter2")
    with pytest.raises(StackError, match=r"the key in .*/key is not valid any more: make another") as raised:
        check(TMWS_TOKEN_FILE=str(tmp_path / "key")).credential()
    assert "hunter2" not in str(raised.value)


def test_a_missing_key_is_found(server, check):
    server.accepted = "Bearer right"
    with pytest.raises(StackError, match="auth is on, and no key is set"):
        check().credential()


def test_a_good_key_is_good(server, check):
    server.accepted = "Bearer right"
    assert check(TMWS_TOKEN="right").credential() == "the key in TMWS_TOKEN is good"


@pytest.fixture
def cursor(tmp_path):
    file = tmp_path / ".cursor" / "mcp.json"
    file.parent.mkdir()
    return file


def look_at_cursor(home, url=""):
    cursor = checks_of_clients({"HOME": str(home), "PATH": ""}, Paths(home), url)[-1]
    return cursor.look()


def configure(file, **entry):
    file.write_text(json.dumps({"mcpServers": {"tmws": entry}}))


@pytest.mark.parametrize("command", ["/gone/tmws-mcp", "tmws-mcp"])
def test_a_client_that_starts_a_program_that_is_gone_is_found(tmp_path, cursor, command):
    configure(cursor, command=command)
    with pytest.raises(StackError, match=r"a program that is not there.*: run \./taskw install cursor"):
        look_at_cursor(tmp_path)


def test_a_key_file_that_is_gone_is_found(tmp_path, cursor):
    configure(cursor, command="/bin/sh", env={"TMWS_TOKEN_FILE": "/gone"})
    with pytest.raises(StackError, match="a key file that is not there"):
        look_at_cursor(tmp_path)


def test_a_configuration_that_no_client_can_read_is_found(tmp_path, cursor):
    cursor.write_text("{,}")
    with pytest.raises(StackError, match="Cursor cannot read"):
        look_at_cursor(tmp_path)


def test_a_client_without_a_stack_is_found(tmp_path, cursor):
    configure(cursor, command="/bin/sh")
    with pytest.raises(StackError, match=r"TMWS is not running: start it with \./taskw up"):
        look_at_cursor(tmp_path)


def test_a_client_whose_key_was_revoked_is_found(tmp_path, cursor, server):
    server.accepted = "Bearer right"
    (tmp_path / "key").write_text("hunter2")
    configure(cursor, command="/bin/sh", env={"TMWS_TOKEN_FILE": str(tmp_path / "key")})
    with pytest.raises(StackError, match=r"Cursor: the key in .* is not valid .* or run \./taskw install cursor"):
        look_at_cursor(tmp_path, f"http://127.0.0.1:{server.server_port}")


def test_a_client_with_a_good_key_is_well(tmp_path, cursor, server):
    server.accepted = "Bearer right"
    configure(cursor, command="/bin/sh", env={"TMWS_TOKEN": "right"})
    assert look_at_cursor(tmp_path, f"http://127.0.0.1:{server.server_port}") == "Cursor starts /bin/sh"


@pytest.mark.parametrize("text", ["", "{}", '{"mcpServers": {"tmws": "x"}}'])
def test_a_client_that_does_not_use_tmws_is_no_fault(tmp_path, cursor, text):
    cursor.write_text(text)
    assert look_at_cursor(tmp_path) == "Cursor does not use TMWS (./taskw install cursor)"


def test_a_bridge_of_another_installation_on_the_path_is_found(tmp_path):
    other = tmp_path / "tmws-mcp"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    with pytest.raises(StackError, match="another installation"):
        look_at_path({"PATH": str(tmp_path)})


def test_an_old_python_is_found(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("tmws_local.doctor.MIN_PYTHON", (99, 0))
    assert main(["doctor"]) == 1
    assert "is too old: install 3.11 or newer" in capsys.readouterr().out


def test_a_full_disk_is_found(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("tmws_local.doctor._MIN_FREE_BYTES", 1 << 60)
    assert main(["doctor"]) == 1
    assert "free some" in capsys.readouterr().out
