"""Where the bridge finds the gateway and its token."""

import json

import pytest

from tmws_mcp_bridge.client import for_one_user
from tmws_mcp_bridge.errors import NoCredential
from tmws_mcp_bridge.settings import DEFAULT_URL, BridgeSettings
from tmws_shared.settings import ConfigurationError


def settings(folder, **environ):
    return BridgeSettings.from_environment({"TMWS_DATA_DIR": str(folder), **environ})


def test_the_default_is_the_stack_on_this_machine(tmp_path):
    assert settings(tmp_path).find_url() == DEFAULT_URL


def test_the_embedded_stack_says_where_it_is(tmp_path):
    (tmp_path / "state.json").write_text(json.dumps({"url": "http://127.0.0.1:8123", "processes": []}))
    assert settings(tmp_path).find_url() == "http://127.0.0.1:8123"


def test_a_client_may_start_the_bridge_in_any_folder(tmp_path, monkeypatch):
    (tmp_path / "clone" / ".tmws").mkdir(parents=True)
    (tmp_path / "clone" / ".tmws" / "state.json").write_text(json.dumps({"url": "http://127.0.0.1:8123"}))
    monkeypatch.setattr("sys.prefix", str(tmp_path / "clone" / ".venv"))
    monkeypatch.chdir(tmp_path)
    assert BridgeSettings.from_environment({}).find_url() == "http://127.0.0.1:8123"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"url": 1}', '{"url": "file:///x"}'])
def test_an_unreadable_state_falls_back_to_the_default(tmp_path, text):
    (tmp_path / "state.json").write_text(text)
    assert settings(tmp_path).find_url() == DEFAULT_URL


def test_a_given_url_wins_over_the_embedded_stack(tmp_path):
    (tmp_path / "state.json").write_text(json.dumps({"url": "http://127.0.0.1:8123"}))
    assert settings(tmp_path, TMWS_URL="https://tmws.test/").find_url() == "https://tmws.test"


def test_the_embedded_stacks_key_is_found(tmp_path):
    (tmp_path / "admin.key").write_text("tmws_a_b_c\n")
    assert settings(tmp_path).find_token() == "tmws_a_b_c"


def test_the_embedded_stacks_key_is_not_shown_to_another_machine(tmp_path):
    (tmp_path / "admin.key").write_text("tmws_a_b_c\n")
    assert settings(tmp_path, TMWS_URL="https://tmws.test").find_token() == ""


def test_a_given_token_wins_over_the_embedded_stacks(tmp_path):
    (tmp_path / "admin.key").write_text("tmws_a_b_c\n")
    assert settings(tmp_path, TMWS_TOKEN="mine").find_token() == "mine"


def test_a_token_file_is_read_again_for_every_call(tmp_path):
    file = tmp_path / "token"
    file.write_text("one")
    locate = for_one_user(settings(tmp_path, TMWS_TOKEN_FILE=str(file)))
    file.write_text("two\n")
    assert locate().authorization == "Bearer two"


def test_a_missing_token_file_is_told(tmp_path):
    locate = for_one_user(settings(tmp_path, TMWS_TOKEN_FILE=str(tmp_path / "none")))
    with pytest.raises(NoCredential, match="TMWS_TOKEN_FILE"):
        locate()


def test_a_token_that_no_header_can_hold_is_told(tmp_path):
    locate = for_one_user(settings(tmp_path, TMWS_TOKEN="a\nb"))
    with pytest.raises(NoCredential, match="one line"):
        locate()


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"TMWS_URL": "ftp://x"}, "TMWS_URL: must be an http or https URL"),
        ({"TMWS_URL": "http://u:p@x"}, "TMWS_URL: must not hold a user name or password"),
        ({"TMWS_TOKN": "x"}, "TMWS_TOKN is not a setting of TMWS; did you mean TMWS_TOKEN?"),
        ({"TMWS_LOG_LEVEL": "loud"}, "TMWS_LOG_LEVEL: "),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, environ, problem):
    with pytest.raises(ConfigurationError) as raised:
        settings(tmp_path, **environ)
    assert raised.value.problems[0].startswith(problem)


def test_a_token_is_not_in_the_settings_text(tmp_path):
    assert "hidden" not in repr(settings(tmp_path, TMWS_TOKEN="hidden"))
