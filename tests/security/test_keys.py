"""API keys: over HTTP and on the command line."""

import pytest

from support.gateway import GatewayUnderTest, bootstrap
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
