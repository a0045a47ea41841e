"""Internal tokens: who may be believed."""

import json
import time
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from tmws_shared.auth import ISSUER, LEEWAY_S, LIFETIME_S, InternalTokens, NeedsScope, Principal, bearer
from tmws_shared.keys import derive_key
from tmws_shared.problems import Forbidden, Unauthenticated

SECRET = "a secret for unit tests that is long enough"
ALICE = Principal("alice", "team-a", frozenset({"task:read"}), persona="athena", key_id="k1")


@pytest.fixture
def tokens() -> InternalTokens:
    return InternalTokens(SECRET)


def forge(claims: dict[str, Any], *, key: bytes | None = None, header: dict[str, Any] | None = None) -> str:
    signing_key = OctKey.import_key(key or derive_key(SECRET, "internal token for task"))
    good = {
        "iss": ISSUER,
        "aud": "task",
        "method": "GET",
        "sub": "x",
        "ns": "n",
        "scopes": [],
        "exp": int(time.time()) + 60,
    }
    return jwt.encode(header or {"alg": "HS256"}, {**good, **claims}, signing_key, algorithms=["HS256"])


def test_token_carries_the_principal(tokens: InternalTokens) -> None:
    assert tokens.verify(tokens.mint(ALICE, "task", "GET"), "task", "GET") == ALICE


def test_token_for_one_service_is_worthless_at_another(tokens: InternalTokens) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(tokens.mint(ALICE, "task", "GET"), "memory", "GET")


def test_token_known_at_one_service_is_worthless_at_another(tokens: InternalTokens) -> None:
    token = tokens.mint(ALICE, "task", "GET")
    tokens.verify(token, "task", "GET")
    with pytest.raises(Unauthenticated):
        tokens.verify(token, "memory", "GET")


def test_token_known_for_one_method_is_worthless_for_another(tokens: InternalTokens) -> None:
    token = tokens.mint(ALICE, "task", "GET")
    tokens.verify(token, "task", "GET")
    with pytest.raises(Unauthenticated):
        tokens.verify(token, "task", "DELETE")


def test_each_method_has_a_token_that_is_made_once(tokens: InternalTokens) -> None:
    made = [tokens.mint(ALICE, "task", method) for method in ("GET", "POST", "GET")]
    assert made[0] == made[2] != made[1]


def test_no_token_lives_longer_than_30_seconds() -> None:
    assert LIFETIME_S + LEEWAY_S <= 30


def test_known_token_expires(tokens: InternalTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tokens.mint(ALICE, "task", "GET")
    tokens.verify(token, "task", "GET")
    later = time.time() + LIFETIME_S + LEEWAY_S + 1
    monkeypatch.setattr("tmws_shared.auth.time.time", lambda: later)
    with pytest.raises(Unauthenticated, match="expired"):
        tokens.verify(token, "task", "GET")


def test_token_of_another_installation_is_refused(tokens: InternalTokens) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(
            InternalTokens("another secret, also long enough to be one").mint(ALICE, "task", "GET"), "task", "GET"
        )


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": int(time.time()) - 60},
        {"exp": 0},
        {"iss": "someone"},
        {"aud": "memory"},
        {"aud": None},
        {"method": "DELETE"},
    ],
)
def test_token_with_a_wrong_claim_is_refused(tokens: InternalTokens, claims: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(forge(claims), "task", "GET")


@pytest.mark.parametrize("missing", ["exp", "sub", "ns", "scopes", "iss", "aud", "method"])
def test_token_without_a_claim_is_refused(tokens: InternalTokens, missing: str) -> None:
    claims = {
        "iss": ISSUER,
        "aud": "task",
        "method": "GET",
        "sub": "x",
        "ns": "n",
        "scopes": [],
        "exp": int(time.time()) + 60,
    }
    del claims[missing]
    key = OctKey.import_key(derive_key(SECRET, "internal token for task"))
    with pytest.raises(Unauthenticated):
        tokens.verify(jwt.encode({"alg": "HS256"}, claims, key, algorithms=["HS256"]), "task", "GET")


@pytest.mark.parametrize("claims", [{"exp": "soon"}, {"exp": True}, {"scopes": "task:read"}, {"sub": {"a": 1}}])
def test_token_with_a_claim_of_the_wrong_type_is_refused(tokens: InternalTokens, claims: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(forge(claims), "task", "GET")


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "e30.e30.", "x" * 9000])
def test_garbage_is_refused(tokens: InternalTokens, token: str) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(token, "task", "GET")


def test_unsigned_token_is_refused(tokens: InternalTokens) -> None:
    good = tokens.mint(ALICE, "task", "GET")
    _, payload, _ = good.split(".")
    with pytest.raises(Unauthenticated):
        tokens.verify(f"eyJhbGciOiJub25lIn0.{payload}.", "task", "GET")


def test_deeply_nested_signed_payload_is_refused(tokens: InternalTokens) -> None:
    deep: Any = 0
    for _ in range(500):
        deep = [deep]
    with pytest.raises(Unauthenticated):
        tokens.verify(forge({"exp": 0, "deep": json.loads(json.dumps(deep))}), "task", "GET")


def test_missing_scope_is_forbidden() -> None:
    with pytest.raises(Forbidden, match="task:write"):
        ALICE.allow("task:write")


def test_unknown_scope_cannot_be_declared() -> None:
    with pytest.raises(ValueError, match="is not a scope"):
        NeedsScope("task:own")


@pytest.mark.parametrize(
    ("header", "token"), [("Bearer abc", "abc"), ("bearer abc", "abc"), ("Basic abc", ""), ("abc", ""), ("", "")]
)
def test_bearer_scheme_is_case_insensitive(header: str, token: str) -> None:
    assert bearer(header) == token
