"""How the settings of the stack come together."""

import pytest

from tmws_local.configuration import StackSettings, parse_env_file


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("NAME=plain", "plain"),
        ("NAME = spaced ", "spaced"),
        ("export NAME=exported", "exported"),
        ("NAME='single # quoted'", "single # quoted"),
        ('NAME="double quoted"', "double quoted"),
        ("NAME=value # comment", "value"),
        ("NAME=a#b=c", "a#b=c"),
        ("NAME=", ""),
    ],
)
def test_line_of_an_env_file_gives_its_value(line: str, value: str) -> None:
    assert parse_env_file(line) == {"NAME": value}


@pytest.mark.parametrize("line", ["", "# NAME=value", "no equals sign"])
def test_line_without_a_setting_gives_nothing(line: str) -> None:
    assert parse_env_file(line) == {}


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),  # noqa: S104 - only shown
        ("::", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("tmws.local", "http://tmws.local:8000"),
    ],
)
def test_public_url_is_one_that_opens_here(host: str, url: str) -> None:
    assert StackSettings(api_host=host).public_url == url
