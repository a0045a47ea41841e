"""API keys: over HTTP and on the command line."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from support.gateway import GatewayUnderTest, bootstrap
from support.waiting import eventually
from tmws_gateway.keys import main


@pytest.fixture
def shell(gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of whoever runs the gateway."""
    for name, value in gateway.environments["gateway"].items():
        monkeypatch.setenv(name, value)


def test_second_bootstrap_prints_nothing(gateway: GatewayUnderTest) -> None:
    assert bootstrap(gateway.environments["gateway"]) == ""


@pytest.mark.usefixtures("shell")
def test_key_of_the_command_line_works_at_once(gateway: GatewayUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["create", "--name", "from the shell", "--scopes", "task:read", "--days", "1"]) == 0
    assert gateway.ask("GET", "/api/v1/tasks", token=capsys.readouterr().out.strip()).status == 200


@pytest.mark.usefixtures("shell")
def test_list_tells_everything_but_the_secret(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert key.split("_")[1] in listed
    assert key.split("_")[2] not in listed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["create", "--name", "x", "--scopes", "nope"], "scopes/0: must be one of"),
        (["create", "--name", " ", "--scopes", "task:read"], "name: must not be blank"),
        (["create", "--name", "admin", "--scopes", "task:read"], "must differ from the names"),
        (["revoke", "nope"], "There is no such API key"),
        (["rotate", "nope"], "There is no such API key"),
        (["rotate", "nope", "--grace", "-1"], "grace_seconds: "),
    ],
)
@pytest.mark.usefixtures("shell")
def test_wrong_command_says_what_is_wrong(capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    assert main(arguments) == 1
    assert says in capsys.readouterr().err


def test_secret_is_shown_once(gateway: GatewayUnderTest) -> None:
    made = gateway.new_key("once", "task:read")
    listed = gateway.ask("GET", "/api/v1/keys", token=gateway.admin_key)
    assert made["id"] in listed.body.decode()
    assert made["key"].split("_")[2] not in listed.body.decode()


def test_key_says_where_it_is(gateway: GatewayUnderTest) -> None:
    answer = gateway.ask(
        "POST", "/api/v1/keys", token=gateway.admin_key, json={"name": "place", "scopes": ["task:read"]}
    )
    assert answer.status == 201
    assert answer.headers["location"] == f"/api/v1/keys/{answer.json['id']}"


def test_name_is_free_again_after_revocation(gateway: GatewayUnderTest) -> None:
    first = gateway.new_key("reused", "task:read")
    assert gateway.new_key("reused", "task:read")["status"] == 409
    assert gateway.ask("DELETE", f"/api/v1/keys/{first['id']}", token=gateway.admin_key).status == 204
    assert "key" in gateway.new_key("reused", "task:read")


def test_unknown_key_is_not_there(gateway: GatewayUnderTest) -> None:
    assert gateway.ask("DELETE", "/api/v1/keys/nope", token=gateway.admin_key).status == 404


@pytest.mark.parametrize(
    ("wanted", "pointer"),
    [
        ({"name": "x", "scopes": []}, "/scopes"),
        ({"name": "x", "scopes": ["root"]}, "/scopes/0"),
        ({"name": "x", "scopes": ["task:read"], "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"name": "x", "scopes": ["task:read"], "namespace": "A B"}, "/namespace"),
        ({"name": "x", "scopes": ["task:read"], "id": "mine"}, "/id"),
    ],
)
def test_wrong_key_is_refused_by_field(gateway: GatewayUnderTest, wanted: dict[str, object], pointer: str) -> None:
    answer = gateway.ask("POST", "/api/v1/keys", token=gateway.admin_key, json=wanted)
    assert (answer.status, answer.pointers) == (422, [pointer])


def test_change_of_rights_is_recorded_with_the_change(gateway: GatewayUnderTest) -> None:
    made = gateway.new_key("recorded", "task:read")
    page = gateway.ask("GET", f"/api/v1/audit?resource=/api/v1/keys/{made['id']}", token=gateway.admin_key).json
    assert {record["action"] for record in page["items"]} == {"key.created", "POST /api/v1/keys"}


def test_one_key_says_what_the_list_says(gateway: GatewayUnderTest) -> None:
    made = gateway.new_key("looked at", "task:read")
    answer = gateway.ask("GET", f"/api/v1/keys/{made['id']}", token=gateway.admin_key)
    assert answer.json == {name: value for name, value in made.items() if name != "key"}
    assert answer.headers["etag"] == '"1"'
    assert gateway.ask("GET", "/api/v1/keys/nope", token=gateway.admin_key).status == 404


def test_rotation_gives_another_secret_at_once(gateway: GatewayUnderTest, stranger: str) -> None:
    made = gateway.new_key("rotated", "task:read")
    rotate = f"/api/v1/keys/{made['id']}/rotate"
    answer = gateway.ask("POST", rotate, token=gateway.admin_key, headers={"If-Match": '"1"'})
    assert (answer.status, answer.json["id"], answer.headers["etag"]) == (200, made["id"], '"2"')
    assert gateway.ask("GET", "/api/v1/tasks", token=answer.json["key"]).status == 200
    assert gateway.ask("GET", "/api/v1/tasks", token=made["key"], source=stranger).status == 401
    again = gateway.ask("POST", rotate, token=gateway.admin_key, headers={"If-Match": '"1"'})
    assert (again.status, "key" in again.json) == (412, False)


def test_rotation_may_leave_the_secret_before_a_while(gateway: GatewayUnderTest) -> None:
    made = gateway.new_key("graceful", "task:read")
    rotate = f"/api/v1/keys/{made['id']}/rotate"
    rotated = gateway.ask("POST", rotate, token=gateway.admin_key, json={"grace_seconds": 60}).json
    assert rotated["previous_until"] is not None
    for key in (made["key"], rotated["key"]):
        assert gateway.ask("GET", "/api/v1/tasks", token=key).status == 200


@pytest.mark.parametrize("grace", [-1, 86_401, 1.5, "soon", None])
def test_wrong_grace_is_refused_by_field(gateway: GatewayUnderTest, key: str, grace: object) -> None:
    rotate = f"/api/v1/keys/{key.split('_')[1]}/rotate"
    answer = gateway.ask("POST", rotate, token=key, json={"grace_seconds": grace})
    assert (answer.status, answer.pointers) == (422, ["/grace_seconds"])


def test_revoked_key_cannot_be_rotated(gateway: GatewayUnderTest) -> None:
    made = gateway.new_key("gone", "task:read")
    path = f"/api/v1/keys/{made['id']}"
    assert gateway.ask("DELETE", path, token=gateway.admin_key, headers={"If-Match": '"7"'}).status == 412
    assert gateway.ask("DELETE", path, token=gateway.admin_key).status == 204
    assert gateway.ask("DELETE", path, token=gateway.admin_key).status == 204
    assert gateway.ask("POST", f"{path}/rotate", token=gateway.admin_key).status == 409


@pytest.mark.usefixtures("shell")
def test_key_is_rotated_on_the_command_line(
    gateway: GatewayUnderTest, stranger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = gateway.new_key("rotated in the shell", "task:read")
    assert gateway.ask("GET", "/api/v1/tasks", token=made["key"]).status == 200
    assert main(["rotate", made["id"]]) == 0
    rotated = capsys.readouterr().out.strip()
    assert gateway.ask("GET", "/api/v1/tasks", token=rotated).status == 200
    assert eventually(lambda: gateway.ask("GET", "/api/v1/tasks", token=made["key"], source=stranger).status == 401, 1)


def test_fifty_attempts_at_once_make_one_key(gateway: GatewayUnderTest) -> None:
    with ThreadPoolExecutor(50) as pool:
        made = list(pool.map(lambda _: gateway.new_key("only one", "task:read"), range(50)))
    assert sorted(one.get("status", 201) for one in made) == [201] + [409] * 49


def test_token_ends_when_it_is_revoked(gateway: GatewayUnderTest, stranger: str) -> None:
    made = gateway.new_key("token holder", "task:read")
    token = gateway.ask("POST", "/api/v1/auth/token", token=made["key"]).json["access_token"]
    assert gateway.ask("GET", "/api/v1/tasks", token=token).status == 200
    assert gateway.ask("POST", "/api/v1/auth/revoke", token=token, json={"token": token}).status == 204
    assert gateway.ask("GET", "/api/v1/tasks", token=token, source=stranger).status == 401
    assert gateway.ask("GET", "/api/v1/tasks", token=made["key"]).status == 200


@pytest.mark.parametrize(("text", "status"), [("", 422), ("x" * 8193, 422), ("not a token", 204), ("a.b.c", 204)])
def test_what_is_no_token_needs_no_revoking(gateway: GatewayUnderTest, text: str, status: int) -> None:
    answer = gateway.ask("POST", "/api/v1/auth/revoke", token=gateway.admin_key, json={"token": text})
    assert answer.status == status
    assert status == 204 or answer.pointers == ["/token"]


def test_api_key_is_not_revoked_as_a_token(gateway: GatewayUnderTest) -> None:
    made = gateway.new_key("no token", "task:read")
    for shown in (made["key"], made["key"][:-1], "tmws_"):
        answer = gateway.ask("POST", "/api/v1/auth/revoke", token=gateway.admin_key, json={"token": shown})
        assert (answer.status, answer.json["detail"]) == (403, "API keys are revoked by DELETE /api/v1/keys/{id}.")
    assert gateway.ask("GET", "/api/v1/tasks", token=made["key"]).status == 200


def test_published_key_verifies_our_tokens(gateway: GatewayUnderTest) -> None:
    answer = gateway.ask("GET", "/.well-known/jwks.json")
    assert answer.headers["content-type"] == "application/jwk-set+json"
    keys = KeySet.import_key_set(answer.json)
    token = jwt.decode(gateway.new_token("task:read"), keys, algorithms=["Ed25519"])
    assert (token.claims["iss"], token.header["typ"]) == ("https://tmws.test", "at+jwt")


def test_token_lives_no_longer_than_asked(gateway: GatewayUnderTest) -> None:
    answer = gateway.ask("POST", "/api/v1/auth/token", token=gateway.admin_key, json={"expires_in": 3601})
    assert (answer.status, answer.pointers) == (422, ["/expires_in"])
    granted = gateway.ask("POST", "/api/v1/auth/token", token=gateway.admin_key, json={"expires_in": 60}).json
    assert (granted["token_type"], granted["expires_in"]) == ("Bearer", 60)


def test_use_of_a_key_is_noted_after_the_gateway_stops(gateway: GatewayUnderTest) -> None:
    made = gateway.new_key("used", "task:read")
    gateway.ask("GET", "/api/v1/tasks", token=made["key"])
    gateway.stop("gateway")
    gateway.start("gateway")
    gateway.wait_until_ready()
    listed = gateway.ask("GET", "/api/v1/keys", token=gateway.admin_key).json["items"]
    assert next(key for key in listed if key["id"] == made["id"])["last_used_at"] is not None
