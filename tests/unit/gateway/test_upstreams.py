"""The route table."""

import pytest

from tmws_gateway.upstreams import ROUTES, Route, RouteTable

TABLE = RouteTable(ROUTES)


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", "/api/v1/tasks", "/api/v1/tasks"),
        ("GET", "/api/v1/tasks/7", "/api/v1/tasks/{id}"),
        ("POST", "/api/v1/tasks/7/complete", "/api/v1/tasks/{id}/complete"),
        ("GET", "/api/v1/memory/recall", "/api/v1/memory/recall"),
        ("GET", "/api/v1/memory/7", "/api/v1/memory/{id}"),
        ("HEAD", "/health", "/health"),
    ],
)
def test_path_finds_its_route(method: str, path: str, route: str) -> None:
    found = TABLE.match(method, path).route
    assert found is not None
    assert found.path == route


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/v1",
        "/api/v1/tasks/",
        "/api/v1/tasks//complete",
        "/stats",
        "/embed",
        "/api/v1/tasks/7/complete/x",
        "//health",
    ],
)
def test_unknown_path_finds_nothing(path: str) -> None:
    assert TABLE.match("GET", path) == TABLE.match("POST", path)
    assert TABLE.match("GET", path).allowed == ()


def test_wrong_method_finds_what_is_allowed() -> None:
    found = TABLE.match("PUT", "/api/v1/memory/7")
    assert found.route is None
    assert found.allowed == ("DELETE", "GET", "HEAD", "PATCH")


def test_route_without_a_scope_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="declares no scope"):
        Route("GET", "/x", "task", "")


def test_route_cannot_be_there_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        RouteTable([Route("GET", "/x/{a}", "task", "task:read"), Route("GET", "/x/{b}", "task", "task:read")])


@pytest.mark.parametrize(
    ("method", "scope", "is_change"),
    [
        ("POST", "task:write", True),
        ("POST", "memory:read", False),
        ("GET", "task:read", False),
        ("POST", "signed-in", True),
    ],
)
def test_change_is_what_writes(method: str, scope: str, is_change: bool) -> None:
    assert Route(method, "/x", "task", scope).is_change is is_change
