"""Rows 1-21 and 25-26 of the table: credentials that are not."""

import json
import random
import socket
import time
from contextlib import closing
from http.client import HTTPConnection
from statistics import median
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.gateway import LOCALHOST, SECRET, Answer, GatewayUnderTest, fresh_address
from support.tokens import forge, sign_raw, sign_with_public_key, unsigned
from tmws_contracts.scopes import SCOPES
from tmws_gateway.identity.api_keys import KeyText
from tmws_shared.auth import InternalTokens, Principal

NOW = int(time.time())
TASKS = "/api/v1/tasks"


@pytest.fixture(scope="module")
def key_id(gateway: GatewayUnderTest) -> str:
    return gateway.new_key("forger", "task:read")["id"]


def read_tasks(gateway: GatewayUnderTest, token: str, source: str) -> Answer:
    return gateway.ask("GET", TASKS, token=token, source=source)


def test_forged_token_would_be_taken_if_nothing_were_wrong_with_it(gateway: GatewayUnderTest, key_id: str) -> None:
    token = forge(iss="https://tmws.test", client_id=key_id)
    assert gateway.ask("GET", TASKS, token=token).status == 200


@pytest.mark.parametrize("algorithm", ["none", "nOnE", "NONE", ""])
def test_unsigned_token_is_refused(gateway: GatewayUnderTest, stranger: str, algorithm: str) -> None:
    assert read_tasks(gateway, unsigned(algorithm), stranger).status == 401


@pytest.mark.parametrize(
    "header",
    [
        {"kid": None},
        {"kid": "../../x"},
        {"kid": "' OR 1=1 --"},
        {"kid": 7},
        {"kid": {"a": 1}},
        {"typ": None},
        {"typ": "JWT"},
        {"typ": "id_token+jwt"},
        {"typ": "refresh+jwt"},
        {"typ": "AT+JWT"},
        {"x5c": ["AA"]},
        {"jku": "http://127.0.0.1:9/keys"},
        {"x5u": "http://127.0.0.1:9/cert"},
        {"jwk": {"kty": "oct", "k": "AA"}},
        {"crit": ["exp"]},
        {"crit": ["b64"], "b64": False},
        {"zip": "DEF"},
    ],
    ids=str,
)
def test_token_with_a_strange_header_is_refused(
    gateway: GatewayUnderTest, key_id: str, stranger: str, header: dict[str, Any]
) -> None:
    token = forge(iss="https://tmws.test", client_id=key_id, header=header)
    assert read_tasks(gateway, token, stranger).status == 401


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW - 31, "iat": NOW - 600},
        {"exp": None},
        {"exp": str(NOW + 3_000)},
        {"exp": True},
        {"exp": float(NOW + 3_000)},
        {"nbf": NOW + 3_000},
        {"nbf": "x"},
        {"iat": NOW + 3_000, "exp": NOW + 3_500},
        {"iat": None},
        {"exp": NOW + 10 * 365 * 86_400},
        {"exp": NOW + 20_000},
        {"aud": None},
        {"aud": "memory"},
        {"aud": ["tmws", "memory"]},
        {"iss": None},
        {"iss": "https://tmws.test/"},
        {"iss": "tmws"},
        {"sub": None},
        {"sub": 7},
        {"client_id": None},
        {"client_id": "unknown"},
        {"scope": None},
        {"scope": ["task:read"]},
        {"jti": None},
        {"key_version": None},
        {"key_version": 2},
        {"key_version": 0},
        {"key_version": True},
    ],
    ids=" ".join,
)
def test_token_with_a_wrong_claim_is_refused(
    gateway: GatewayUnderTest, key_id: str, stranger: str, claims: dict[str, Any]
) -> None:
    token = forge(**{"iss": "https://tmws.test", "client_id": key_id, **claims})
    assert read_tasks(gateway, token, stranger).status == 401


@pytest.mark.parametrize(
    "payload",
    [b'{"exp":NaN}', b'{"exp":1e400}', b'{"a":' + b"[" * 2_900 + b"]" * 2_900 + b"}", b"[]", b"7", b"\xff", b""],
    ids=["nan", "infinite", "deep", "list", "number", "bytes", "empty"],
)
def test_token_with_a_strange_payload_is_refused(gateway: GatewayUnderTest, stranger: str, payload: bytes) -> None:
    token = sign_raw(payload)
    assert len(token) < 8_192
    assert read_tasks(gateway, token, stranger).status == 401


@pytest.mark.parametrize(("ended_s", "status"), [(29, 200), (31, 401)])
def test_clock_may_be_half_a_minute_off(
    gateway: GatewayUnderTest, key_id: str, stranger: str, ended_s: int, status: int
) -> None:
    now = int(time.time())
    token = forge(iss="https://tmws.test", client_id=key_id, exp=now - ended_s, iat=now - 600, jti=str(ended_s))
    assert read_tasks(gateway, token, stranger).status == status


@pytest.mark.parametrize("member", ["jku", "x5u"])
def test_nothing_is_fetched_from_where_a_token_says(
    gateway: GatewayUnderTest, key_id: str, stranger: str, member: str
) -> None:
    with socket.create_server((LOCALHOST, 0)) as server:
        server.settimeout(0.3)
        where = f"http://{LOCALHOST}:{server.getsockname()[1]}/keys"
        token = forge(iss="https://tmws.test", client_id=key_id, header={member: where})
        assert read_tasks(gateway, token, stranger).status == 401
        with pytest.raises(TimeoutError):
            server.accept()


def test_token_over_8_kib_is_refused(gateway: GatewayUnderTest, key_id: str, stranger: str) -> None:
    token = forge(iss="https://tmws.test", client_id=key_id, extra="x" * 8_192)
    assert read_tasks(gateway, token, stranger).status == 401


def test_token_of_200_kb_is_refused_before_it_is_read(gateway: GatewayUnderTest, stranger: str) -> None:
    head = b"GET /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + b"a" * 200_000 + b"\r\n\r\n"
    assert gateway.send(head, source=stranger).startswith(b"HTTP/1.1 431 ")


def test_token_signed_with_another_key_is_refused(gateway: GatewayUnderTest, key_id: str, stranger: str) -> None:
    token = forge(iss="https://tmws.test", client_id=key_id, key=Ed25519PrivateKey.generate())
    assert read_tasks(gateway, token, stranger).status == 401


def test_token_signed_with_the_public_key_as_a_secret_is_refused(
    gateway: GatewayUnderTest, key_id: str, stranger: str
) -> None:
    claims = {"iss": "https://tmws.test", "aud": "tmws", "sub": "x", "client_id": key_id, "key_version": 1,
              "scope": "task:read", "iat": NOW, "exp": NOW + 3_000, "jti": "1"}  # fmt: skip
    for token in sign_with_public_key(json.dumps(claims).encode()):
        assert read_tasks(gateway, token, stranger).status == 401


def test_token_cannot_have_more_scopes_than_its_key(gateway: GatewayUnderTest, key_id: str) -> None:
    token = forge(iss="https://tmws.test", client_id=key_id, scope="task:read keys:admin")
    assert gateway.ask("GET", "/api/v1/keys", token=token).status == 403


def test_revoked_key_is_refused_with_its_tokens(gateway: GatewayUnderTest, stranger: str) -> None:
    issued = gateway.new_key("short-lived", "task:read")
    token = gateway.ask("POST", "/api/v1/auth/token", token=issued["key"]).json["access_token"]
    assert read_tasks(gateway, token, stranger).status == 200
    gateway.ask("DELETE", f"/api/v1/keys/{issued['id']}", token=gateway.admin_key)
    assert read_tasks(gateway, issued["key"], stranger).status == 401
    assert read_tasks(gateway, token, stranger).status == 401


def test_two_authorization_headers_are_malformed(gateway: GatewayUnderTest, key: str) -> None:
    line = f"Authorization: Bearer {key}\r\n".encode()
    raw = gateway.send(b"GET /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + line * 2 + b"\r\n")
    assert raw.startswith(b"HTTP/1.1 400 ")


def test_token_in_the_query_or_a_cookie_is_not_seen_and_not_logged(gateway: GatewayUnderTest, key: str) -> None:
    assert gateway.ask("GET", f"{TASKS}?access_token={key}").status == 401
    assert gateway.ask("GET", TASKS, headers={"Cookie": f"access_token={key}"}).status == 401
    assert key.split("_")[2] not in gateway.log()


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "Bearer   "])
def test_scheme_is_read_as_the_standard_says(gateway: GatewayUnderTest, key: str, scheme: str) -> None:
    assert gateway.ask("GET", TASKS, headers={"Authorization": scheme + key}).status == 200


@pytest.mark.parametrize("value", ["Bearer\t{}", "Basic {}", "{}", "Bearer {} x", "Bearer", "Bearer:{}", "Bearer {},x"])
def test_other_forms_of_authorization_are_refused(
    gateway: GatewayUnderTest, key: str, stranger: str, value: str
) -> None:
    answer = gateway.ask("GET", TASKS, headers={"Authorization": value.format(key)}, source=stranger)
    assert answer.status == 401


def test_refusal_says_how_to_sign_in(gateway: GatewayUnderTest, stranger: str) -> None:
    where = 'resource_metadata="https://tmws.test/.well-known/oauth-protected-resource"'
    assert gateway.ask("GET", TASKS, source=stranger).headers["www-authenticate"] == f"Bearer {where}"
    wrong = read_tasks(gateway, "x", stranger).headers["www-authenticate"]
    assert wrong == f'Bearer error="invalid_token", {where}'


def wrong_keys(key: str) -> list[str]:
    """A wrong secret, an id that nobody has, a wrong checksum."""
    _, key_id, secret, checksum = key.split("_")
    return [
        str(KeyText(key_id, secret[::-1])),
        str(KeyText(key_id[::-1], secret)),
        key.replace(checksum, f"{int(checksum, 16) ^ 1:08x}"),
    ]


def test_wrong_keys_are_refused_alike(gateway: GatewayUnderTest, key: str, stranger: str) -> None:
    answers = [read_tasks(gateway, wrong, stranger) for wrong in wrong_keys(key)]
    assert {answer.status for answer in answers} == {401}
    assert {answer.json["detail"] for answer in answers} == {"The API key is not valid."}


@pytest.mark.long
def test_time_does_not_tell_what_is_wrong_with_a_key(gateway: GatewayUnderTest, key: str) -> None:
    """The kinds come in any order; of each address there are too few failures for a delay."""
    waits_s: list[list[float]] = [[], [], []]
    shuffle = random.Random(21).shuffle  # noqa: S311 -- no secret
    for _ in range(60):
        with closing(HTTPConnection(LOCALHOST, gateway.port, 10, source_address=(fresh_address(), 0))) as connection:
            tries = [*enumerate(wrong_keys(key))] * 4
            shuffle(tries)
            for kind, wrong in tries:
                started = time.perf_counter()
                connection.request("GET", TASKS, headers={"Authorization": f"Bearer {wrong}"})
                assert connection.getresponse().read()
                waits_s[kind].append(time.perf_counter() - started)
    shortest, *_, longest = sorted(median(waits) for waits in waits_s)
    assert longest < 1.2 * shortest


@pytest.mark.parametrize("audience", ["task", "gateway", "tmws"])
def test_internal_token_is_refused_from_outside(gateway: GatewayUnderTest, stranger: str, audience: str) -> None:
    token = InternalTokens(SECRET).mint(Principal("root", scopes=SCOPES), audience, "GET")
    assert read_tasks(gateway, token, stranger).status == 401


def ask_service(gateway: GatewayUnderTest, token: str | None) -> bytes:
    """The status line of the task service's own answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(gateway.folder / "task.sock"))
        line = f"Authorization: Bearer {token}\r\n" if token else ""
        connection.sendall(f"GET {TASKS} HTTP/1.1\r\nHost: service\r\nConnection: close\r\n{line}\r\n".encode())
        return connection.recv(65536).partition(b"\r\n")[0]


def test_service_believes_the_gateway_alone(gateway: GatewayUnderTest, key: str, key_id: str) -> None:
    caller = Principal("root", scopes=SCOPES)
    assert ask_service(gateway, InternalTokens(SECRET).mint(caller, "task", "GET")) == b"HTTP/1.1 200 OK"
    wrong = {
        "none": None,
        "an API key": key,
        "an access token": forge(iss="https://tmws.test", client_id=key_id),
        "for another service": InternalTokens(SECRET).mint(caller, "memory", "GET"),
        "for another method": InternalTokens(SECRET).mint(caller, "task", "POST"),
        "with another secret": InternalTokens(SECRET[::-1]).mint(caller, "task", "GET"),
    }
    assert {why: ask_service(gateway, token) for why, token in wrong.items()} == dict.fromkeys(
        wrong, b"HTTP/1.1 401 Unauthorized"
    )


@pytest.mark.parametrize(("age_s", "line"), [(20, b"HTTP/1.1 200 OK"), (32, b"HTTP/1.1 401 Unauthorized")])
def test_internal_token_is_refused_after_30_seconds(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch, age_s: int, line: bytes
) -> None:
    made_at = time.time() - age_s
    monkeypatch.setattr("tmws_shared.auth.time.time", lambda: made_at)
    token = InternalTokens(SECRET).mint(Principal("root", scopes=SCOPES), "task", "GET")
    assert ask_service(gateway, token) == line


@pytest.mark.parametrize(
    "path",
    ["/health", "/livez", "/readyz", "/openapi.json", "/docs", "/docs/swagger-ui.css", "/.well-known/jwks.json",
     "/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"],
)  # fmt: skip
def test_public_route_needs_no_credential(gateway: GatewayUnderTest, stranger: str, path: str) -> None:
    assert gateway.ask("GET", path, source=stranger).status in (200, 503)


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/stats", "/api/v1/audit", "/api/v1/keys"])
def test_every_other_route_of_the_gateway_needs_one(gateway: GatewayUnderTest, stranger: str, path: str) -> None:
    assert gateway.ask("GET", path, source=stranger).status == 401
