"""`tmws install` and `uninstall` on copied configuration files of several shapes."""

import json
import os
import stat

import pytest

from tmws_local.cli import main

OTHER = {"other": {"command": "npx", "args": ["-y", "x"]}}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("TMWS_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def cursor(home):
    file = home / ".cursor" / "mcp.json"
    file.parent.mkdir()
    return file


def test_a_configuration_is_made_where_there_is_none(home, cursor):
    assert main(["install", "cursor"]) == 0
    entry = json.loads(cursor.read_text())["mcpServers"]["tmws"]
    assert os.access(entry["command"], os.X_OK)
    assert entry["env"] == {"TMWS_DATA_DIR": str(home / "data")}
    assert stat.S_IMODE(cursor.stat().st_mode) == 0o600


def test_the_one_before_is_kept_beside_it(cursor):
    cursor.write_text(json.dumps({"mcpServers": OTHER}))
    cursor.chmod(0o640)
    main(["install", "cursor"])
    (copy,) = cursor.parent.glob("mcp.json.*.bak")
    assert json.loads(copy.read_text()) == {"mcpServers": OTHER}
    assert stat.S_IMODE(cursor.stat().st_mode) == 0o640
    assert json.loads(cursor.read_text())["mcpServers"]["other"] == OTHER["other"]


def test_installing_again_changes_nothing(cursor, capsys):
    main(["install", "cursor"])
    before = cursor.stat().st_mtime_ns
    main(["install", "cursor"])
    assert cursor.stat().st_mtime_ns == before
    assert "is as it should be" in capsys.readouterr().out
    assert [*cursor.parent.glob("*.bak")] == []


def test_uninstalling_leaves_what_was_there(cursor):
    text = json.dumps({"mcpServers": OTHER, "theme": "dark"}, indent=2)
    cursor.write_text(text)
    main(["install", "cursor"])
    assert main(["uninstall", "cursor"]) == 0
    assert cursor.read_text() == text


@pytest.mark.parametrize("command", ["install", "uninstall"])
@pytest.mark.parametrize("text", ['{"mcpServers": {},}', '// mine\n{"mcpServers": {}}', "{", '{"mcpServers": 1}'])
def test_what_is_not_valid_json_is_left_untouched_and_said_so(cursor, capsys, command, text):
    cursor.write_text(text)
    assert main([command, "cursor"]) == 1
    assert cursor.read_text() == text
    assert f"{cursor} is left as it is" in capsys.readouterr().err
    assert [*cursor.parent.iterdir()] == [cursor]


def test_what_is_not_text_is_left_untouched(cursor):
    cursor.write_bytes(b"\xff\xfe{}")
    assert main(["install", "cursor"]) == 1
    assert cursor.read_bytes() == b"\xff\xfe{}"


def test_a_byte_order_mark_stays(cursor):
    cursor.write_text("\ufeff{}", encoding="utf-8")
    assert main(["install", "cursor"]) == 0
    assert cursor.read_bytes().startswith(b"\xef\xbb\xbf{")


def test_a_dry_run_shows_the_change_and_makes_none(cursor, capsys):
    cursor.write_text("{}")
    assert main(["install", "cursor", "--dry-run"]) == 0
    assert cursor.read_text() == "{}"
    assert '+    "tmws": {' in capsys.readouterr().out


def test_an_entry_can_be_printed_to_be_pasted(cursor, capsys):
    assert main(["install", "cursor", "--print", "--profile", "readonly"]) == 0
    entry = json.loads(capsys.readouterr().out)["mcpServers"]["tmws"]
    assert entry["env"]["TMWS_MCP_PROFILE"] == "readonly"
    assert not cursor.exists()


def test_secrets_of_other_servers_are_not_shown(cursor, capsys):
    text = json.dumps({"mcpServers": {"other": {"env": {"KEY": "hunter2"}, "command": "x"}}}, indent=2)
    cursor.write_text(text)
    main(["install", "cursor"])
    assert "hunter2" not in capsys.readouterr().out


@pytest.mark.parametrize("right", [["--approve"], ["--audit"], ["--persona", "hestia"]])
def test_rights_that_nobody_needs_are_said_to_be_so(cursor, capsys, right):
    assert main(["install", "cursor", *right]) == 0
    assert "Auth is off" in capsys.readouterr().out
    main(["install", "cursor"])
    assert "Auth is off" not in capsys.readouterr().out


def test_what_no_persona_can_be_called_is_refused(cursor, capsys):
    with pytest.raises(SystemExit):
        main(["install", "cursor", "--persona", "No Such"])
    assert "must be the id of a persona" in capsys.readouterr().err
    assert not cursor.exists()


def test_a_link_to_the_configuration_stays_a_link(home, cursor):
    (home / "dotfiles.json").write_text("{}")
    cursor.symlink_to(home / "dotfiles.json")
    assert main(["install", "cursor"]) == 0
    assert cursor.is_symlink()
    assert "tmws" in (home / "dotfiles.json").read_text()


def test_a_project_has_its_own_configuration(home):
    (home / "app").mkdir()
    assert main(["install", "claude-code", "--scope", "project", "--project", "app"]) == 0
    assert json.loads((home / "app" / ".mcp.json").read_text())["mcpServers"]["tmws"]["type"] == "stdio"


def test_a_key_is_not_made_while_tmws_does_not_run(home, cursor, capsys):
    (home / "data").mkdir()
    (home / "data" / "admin.key").write_text("tmws_a_b_c")
    assert main(["install", "cursor"]) == 1
    assert not cursor.exists()
    assert "start it with ./taskw up first" in capsys.readouterr().err
