"""Rows 22-24, 65 and 68 of the table: what a caller may do, and what it may say of itself."""

import itertools
import re

import pytest

from support.gateway import GatewayUnderTest, fresh_address
from tmws_contracts.scopes import SCOPES
from tmws_gateway.identity.api_keys import KeyText
from tmws_gateway.upstreams import PUBLIC, ROUTES, SIGNED_IN, Route

GUARDED = [route for route in ROUTES if route.scope not in (PUBLIC, SIGNED_IN)]


def call(gateway: GatewayUnderTest, route: Route, token: str) -> int:
    path = re.sub(r"\{\w+\}", "0199c0de-0000-7000-8000-000000000000", route.path)
    return gateway.ask(route.method, path, token=token, headers={"Content-Type": "application/json"}).status


@pytest.fixture(scope="session")
def tokens(gateway: GatewayUnderTest) -> dict[str, str]:
    """A token for each scope, and one for all others."""
    alone = {scope: gateway.new_token(scope) for scope in SCOPES}
    return alone | {f"not {scope}": gateway.new_token(*(SCOPES - {scope})) for scope in SCOPES}


@pytest.mark.parametrize("route", GUARDED, ids=lambda route: route.action)
def test_a_route_needs_its_own_scope_and_no_other(
    gateway: GatewayUnderTest, tokens: dict[str, str], route: Route
) -> None:
    refused = {scope for scope in SCOPES if call(gateway, route, tokens[scope]) == 403}
    assert refused == SCOPES - {route.scope}
    assert call(gateway, route, tokens[f"not {route.scope}"]) == 403
    assert call(gateway, route, tokens[route.scope]) != 401


def test_missing_scope_is_named(gateway: GatewayUnderTest) -> None:
    answer = gateway.ask("POST", "/api/v1/tasks", token=gateway.new_token("task:read"), json={"title": "x"})
    assert answer.json["error"] == "insufficient_scope"
    assert answer.headers["www-authenticate"] == (
        'Bearer error="insufficient_scope", scope="task:write", '
        'resource_metadata="https://tmws.test/.well-known/oauth-protected-resource"'
    )


def test_nobody_can_give_rights_they_do_not_have(gateway: GatewayUnderTest) -> None:
    token = gateway.new_token("keys:admin")
    answer = gateway.ask("POST", "/api/v1/keys", token=token, json={"name": "x", "scopes": ["task:write"]})
    assert answer.status == 403
    assert answer.pointers == ["/scopes"]


def test_token_cannot_make_a_token(gateway: GatewayUnderTest) -> None:
    assert gateway.ask("POST", "/api/v1/auth/token", token=gateway.new_token("task:read")).status == 403


def test_task_of_another_namespace_is_not_there(gateway: GatewayUnderTest, key: str) -> None:
    task = gateway.ask("POST", "/api/v1/tasks", token=key, json={"title": "ours"}).json["id"]
    theirs = gateway.new_key("other team", "task:read", namespace="other-team")["key"]
    foreign = gateway.ask("GET", f"/api/v1/tasks/{task}", token=theirs)
    missing = gateway.ask("GET", "/api/v1/tasks/0199c0de-0000-7000-8000-000000000000", token=theirs)
    assert (
        (foreign.status, foreign.json["title"])
        == (missing.status, missing.json["title"])
        == (404, missing.json["title"])
    )


def test_audit_records_of_another_namespace_are_not_shown(gateway: GatewayUnderTest) -> None:
    theirs = gateway.new_key("auditor", "audit:read", namespace="third-team")["key"]
    assert gateway.ask("GET", "/api/v1/audit", token=theirs).json["items"] == []


@pytest.mark.parametrize(
    "header", ["X-TMWS-Principal", "X-TMWS-Timeout-Ms", "X-User-Id", "X-TMWS-Namespace", "X-Forwarded-User"]
)
def test_caller_cannot_say_who_it_is(gateway: GatewayUnderTest, stranger: str, header: str) -> None:
    assert gateway.ask("GET", "/api/v1/tasks", headers={header: "1"}, source=stranger).status == 401


def test_timeout_from_outside_is_not_passed_on(gateway: GatewayUnderTest, key: str) -> None:
    answer = gateway.ask("GET", "/api/v1/tasks", token=key, headers={"X-TMWS-Timeout-Ms": "0"})
    assert answer.status == 200


def test_many_failures_block_their_address_and_nobody_else(gateway: GatewayUnderTest, key: str) -> None:
    attacker = fresh_address()
    statuses = [gateway.ask("GET", "/api/v1/tasks", token=f"wrong-{n}", source=attacker).status for n in range(110)]
    assert [status for status, _ in itertools.groupby(statuses)] == [401, 429]
    assert gateway.ask("GET", "/api/v1/tasks", token=gateway.new_token("task:read")).status == 200


def test_blocked_address_cannot_hide_behind_a_header(gateway: GatewayUnderTest) -> None:
    attacker = fresh_address()
    for n in range(100):
        gateway.ask("GET", "/api/v1/tasks", token=f"wrong-{n}", source=attacker)
    spoofed = {"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.7", "X-Real-IP": "203.0.113.7"}
    answer = gateway.ask("GET", "/api/v1/tasks", token="wrong", headers=spoofed, source=attacker)
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) > 0


def test_nobody_rotates_a_key_to_have_its_rights(gateway: GatewayUnderTest) -> None:
    admin = gateway.admin_key.split("_")[1]
    answer = gateway.ask("POST", f"/api/v1/keys/{admin}/rotate", token=gateway.new_token("keys:admin"))
    assert (answer.status, answer.pointers) == (403, ["#id"])
    assert gateway.ask("GET", "/api/v1/keys", token=gateway.admin_key).status == 200


def test_guessed_secrets_block_the_key_for_the_guesser_only(gateway: GatewayUnderTest, key: str) -> None:
    attacker = fresh_address()
    issued = gateway.new_key("guessed", "task:read")["key"]
    wrong = str(KeyText(issued.split("_")[1], "A" * 43))
    statuses = [gateway.ask("GET", "/api/v1/tasks", token=wrong, source=attacker).status for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    assert gateway.ask("GET", "/api/v1/tasks", token=issued).status == 200
