"""What the outside says of a caller: issuers of tokens, and proxies in front. Rows 1-17, 23 and 71 of the table."""

import asyncio
import http.client
import json
import os
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

from support.gateway import PUBLIC_URL, Answer, GatewayUnderTest, fresh_address, running_gateway
from support.issuer import AUDIENCE, Issuer, issuer
from support.listening import listening
from support.postgres import PostgresForTests
from tmws_local.paths import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")
TASKS = "/api/v1/tasks"
CALLER = "198.51.100.7"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncGenerator[Issuer]:
    async with issuer() as running:
        yield running


@pytest.fixture(scope="module")
def bridge_port(gateway: GatewayUnderTest) -> Iterator[int]:
    """The bridge over HTTP, in front of the gateway."""
    port = free_port()
    environment = {"PATH": os.environ["PATH"], "TMWS_URL": f"http://127.0.0.1:{gateway.port}"}
    command = [sys.executable, "-m", "tmws_mcp_bridge", "--http", str(port)]
    with listening(command, port, environment):
        yield port


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(
    site: Issuer, postgres: PostgresForTests, redis_url: str, short_directory: Path
) -> AsyncGenerator[GatewayUnderTest]:
    trusted = {"issuer": site.url, "audience": AUDIENCE, "namespace_claim": "team"}
    opening = running_gateway(
        postgres.create_database(),
        redis_url,
        short_directory / "outside",
        auth_enabled="true",
        rate_limit_requests="1000000",
        public_url=PUBLIC_URL,
        auth_issuers=json.dumps([trusted]),
        trusted_proxies="127.0.0.1/32",
    )
    running = await asyncio.to_thread(opening.__enter__)
    try:
        yield running
    finally:
        await asyncio.to_thread(opening.__exit__, None, None, None)


async def ask(gateway: GatewayUnderTest, method: str, path: str, **request: object) -> Answer:
    return await asyncio.to_thread(gateway.ask, method, path, **request)  # pyright: ignore[reportArgumentType]


async def test_token_of_a_trusted_issuer_lets_in(gateway: GatewayUnderTest, site: Issuer) -> None:
    token = site.sign(team="red", scope="task:read task:write")
    made = await ask(gateway, "POST", TASKS, token=token, json={"title": "of the red team"})
    assert made.status == 201
    listed = await ask(gateway, "GET", TASKS, token=token)
    assert [task["namespace"] for task in listed.json["items"]] == ["red"]
    assert (await ask(gateway, "GET", f"{TASKS}/{made.json['id']}", token=site.sign(team="blue"))).status == 404


async def test_scope_that_the_issuer_did_not_give_is_missing(gateway: GatewayUnderTest, site: Issuer) -> None:
    answer = await ask(gateway, "POST", TASKS, token=site.sign(team="red"), json={"title": "x"})
    assert (answer.status, answer.json["error"]) == (403, "insufficient_scope")


async def test_token_of_an_issuer_makes_no_other_token(gateway: GatewayUnderTest, site: Issuer) -> None:
    assert (await ask(gateway, "POST", "/api/v1/auth/token", token=site.sign(team="red"))).status == 403


async def test_token_of_an_issuer_can_be_revoked_here(gateway: GatewayUnderTest, site: Issuer) -> None:
    token = site.sign(team="red", jti="revoked")
    assert (await ask(gateway, "GET", TASKS, token=token)).status == 200
    assert (await ask(gateway, "POST", "/api/v1/auth/revoke", token=token, json={"token": token})).status == 204
    assert (await ask(gateway, "GET", TASKS, token=token)).status == 401
    again = await ask(gateway, "POST", "/api/v1/auth/revoke", token=gateway.admin_key, json={"token": token})
    assert again.status == 204


@pytest.mark.parametrize("claims", [{"team": "A B"}, {"aud": "x"}, {"exp": 1}, {"nbf": 4102444800}])
async def test_wrong_token_of_an_issuer_is_401(
    gateway: GatewayUnderTest, site: Issuer, claims: dict[str, object]
) -> None:
    token = site.sign(**{"team": "red", **claims})
    assert (await ask(gateway, "GET", TASKS, token=token, source=fresh_address())).status == 401


async def test_metadata_says_where_to_sign_in(gateway: GatewayUnderTest, site: Issuer) -> None:
    refused = await ask(gateway, "GET", TASKS, headers={"Host": "tmws.test"}, source=fresh_address())
    assert refused.headers["www-authenticate"] == (
        'Bearer resource_metadata="https://tmws.test/.well-known/oauth-protected-resource"'
    )
    for path, resource in (("", PUBLIC_URL), ("/mcp", f"{PUBLIC_URL}/mcp")):
        found = await ask(gateway, "GET", f"/.well-known/oauth-protected-resource{path}", headers={"Host": "tmws.test"})
        assert (found.json["resource"], found.json["authorization_servers"]) == (resource, [site.url])


async def test_address_of_a_caller_is_what_a_trusted_proxy_says(gateway: GatewayUnderTest) -> None:
    headers = {"X-Forwarded-For": f"203.0.113.9, {CALLER}", "X-Request-ID": "through-a-proxy"}
    assert (await ask(gateway, "GET", TASKS, token="wrong", headers=headers)).status == 401
    spoofed = {"X-Forwarded-For": CALLER, "X-Request-ID": "without-a-proxy"}
    own = fresh_address()
    assert (await ask(gateway, "GET", TASKS, token="wrong", headers=spoofed, source=own)).status == 401
    for request_id, address in (("through-a-proxy", CALLER), ("without-a-proxy", own)):
        assert await address_in_audit(gateway, request_id) == [address]


async def test_address_of_a_caller_is_what_the_bridge_says(gateway: GatewayUnderTest, bridge_port: int) -> None:
    own = fresh_address()
    headers = {
        "Authorization": "Bearer wrong",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
    }
    call = {"name": "manage_task", "arguments": {"operation": "list"}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})

    def post() -> bytes:
        with closing(http.client.HTTPConnection("127.0.0.1", bridge_port, 20, source_address=(own, 0))) as connection:
            connection.request("POST", "/mcp", body, headers)
            return connection.getresponse().read()

    assert b"needs a valid API key" in await asyncio.to_thread(post)
    async with asyncio.timeout(10):
        while True:
            page = await ask(gateway, "GET", "/api/v1/audit?status=401&limit=200", token=gateway.admin_key)
            if own in {record["address"] for record in page.json["items"]}:
                return
            await asyncio.sleep(0.05)


async def address_in_audit(gateway: GatewayUnderTest, request_id: str) -> list[str]:
    async with asyncio.timeout(10):
        while True:
            page = await ask(gateway, "GET", f"/api/v1/audit?request_id={request_id}", token=gateway.admin_key)
            if page.json["items"]:
                return [record["address"] for record in page.json["items"]]
            await asyncio.sleep(0.05)


async def test_failures_behind_a_proxy_block_their_caller_alone(gateway: GatewayUnderTest) -> None:
    behind = {"X-Forwarded-For": "198.51.100.66"}
    tries = (ask(gateway, "GET", TASKS, token=f"wrong-{n}", headers=behind) for n in range(101))
    answers = await asyncio.gather(*tries)
    assert sorted({answer.status for answer in answers}) == [401, 429]
    others = {"X-Forwarded-For": "198.51.100.67"}
    assert (await ask(gateway, "GET", TASKS, token="wrong", headers=others)).status == 401
