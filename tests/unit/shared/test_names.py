"""What the URLs of a service name."""

import pytest

from tmws_shared.names import Origin, origins_of
from tmws_shared.pool import Address


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("unix:///run/task.sock", Origin(b"service", Address("/run/task.sock"))),
        ("http://127.0.0.1:8101", Origin(b"127.0.0.1:8101", Address(None, "127.0.0.1", 8101))),
        ("http://task", Origin(b"task", Address(None, "task", 80))),
        ("http://[::1]:8101", Origin(b"[::1]:8101", Address(None, "::1", 8101))),
    ],
)
def test_url_names_where_a_service_listens(url: str, origin: Origin) -> None:
    assert origins_of(url) == [origin]


def test_several_urls_are_separated_by_commas() -> None:
    assert [origin.host for origin in origins_of("http://a:1, http://b:2,")] == [b"a:1", b"b:2"]


@pytest.mark.parametrize(
    ("url", "is_name"),
    [("unix:///a.sock", False), ("http://10.0.0.1:1", False), ("http://[fe80::1]:1", False), ("http://task:1", True)],
)
def test_only_names_are_looked_up(url: str, is_name: bool) -> None:
    assert origins_of(url)[0].is_name is is_name
