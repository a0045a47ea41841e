"""Access tokens of other issuers, whose keys are fetched from a real web server."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from support.certificates import server_certificate
from support.issuer import DISCOVERY, JWKS, Issuer, issuer
from support.web import json_page, moved, page, website
from tmws_gateway.identity import key_sources
from tmws_gateway.identity.fetching import NotFetched, fetch
from tmws_gateway.identity.issuers import Issuers, TrustedIssuer
from tmws_gateway.identity.tokens import read_token
from tmws_shared.auth import Principal
from tmws_shared.problems import Unauthenticated, Unavailable

AUDIENCE = "https://tmws.test"


@pytest.fixture
async def site() -> AsyncGenerator[Issuer]:
    async with issuer() as running:
        yield running


def trust(site: Issuer, **others: Any) -> Issuers:
    return Issuers([TrustedIssuer(issuer=site.url, audience=AUDIENCE, **others)])


async def who(issuers: Issuers, token: str) -> Principal:
    return (await issuers.verify(read_token(token))).principal


async def is_refused(issuers: Issuers, token: str) -> bool:
    with suppress(Unauthenticated):
        await who(issuers, token)
        return False
    return True


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "Ed25519", "EdDSA"])
async def test_token_of_a_trusted_issuer_says_who_calls(algorithm: str) -> None:
    async with issuer(algorithm) as site:
        caller = await who(trust(site), site.sign())
    assert caller == Principal(f"{site.url}#alice", "default", frozenset({"task:read"}))


async def test_claims_mean_what_the_operator_says(site: Issuer) -> None:
    issuers = trust(site, namespace_claim="team", persona_claim="agent", scope_claim="permissions")
    token = site.sign(team="red", agent="athena", permissions=["task:write", "unheard:of", 7])
    assert await who(issuers, token) == Principal(f"{site.url}#alice", "red", frozenset({"task:write"}), "athena")


async def test_namespace_may_be_fixed(site: Issuer) -> None:
    assert (await who(trust(site, namespace="blue"), site.sign(team="red"))).namespace == "blue"


@pytest.mark.parametrize("claims", [{}, {"team": "Red Team"}, {"team": ["red"]}, {"team": "red", "agent": "A B"}])
async def test_claim_that_is_no_slug_is_refused(site: Issuer, claims: dict[str, Any]) -> None:
    assert await is_refused(trust(site, namespace_claim="team", persona_claim="agent"), site.sign(**claims))


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another"}, {"aud": None}, {"aud": ["another"]}, {"iss": "http://127.0.0.1:1"}, {"exp": None},
        {"exp": 1}, {"iat": None}, {"nbf": 4102444800}, {"exp": 4102444800}, {"sub": None}, {"sub": "a" * 255},
        {"client_id": None}, {"jti": None}, {"sub": "a\nb"},
    ],
    ids=str,
)  # fmt: skip
async def test_token_with_a_wrong_claim_is_refused(site: Issuer, claims: dict[str, Any]) -> None:
    assert await is_refused(trust(site), site.sign(**claims))


async def test_audience_may_be_one_of_a_list(site: Issuer) -> None:
    assert not await is_refused(trust(site), site.sign(aud=["account", AUDIENCE]))


@pytest.mark.parametrize(
    "header",
    [{"typ": "JWT"}, {"typ": "id_token+jwt"}, {"jku": "http://127.0.0.1:9/"}, {"alg": "none"}, {"alg": "HS256"},
     {"alg": "RS256"}, {"alg": "ES384"}, {"kid": 7}],
    ids=str,
)  # fmt: skip
async def test_token_with_another_header_is_refused(site: Issuer, header: dict[str, Any]) -> None:
    assert await is_refused(trust(site), site.sign(header=header))


async def test_token_of_an_issuer_that_nobody_named_is_refused_without_asking_it(site: Issuer) -> None:
    async with issuer() as stranger:
        assert await is_refused(trust(site), stranger.sign())
    assert stranger.site.asked == []


async def test_one_issuer_cannot_speak_for_another(site: Issuer) -> None:
    async with issuer() as other:
        assert await is_refused(trust(site), other.sign(iss=site.url))


async def test_keys_are_fetched_once(site: Issuer) -> None:
    issuers = trust(site)
    await asyncio.gather(*(who(issuers, site.sign(jti=str(number))) for number in range(20)))
    assert (site.asked_for(DISCOVERY), site.asked_for(JWKS)) == (1, 1)


async def test_key_that_the_issuer_begins_to_use_counts_at_once(site: Issuer) -> None:
    issuers = trust(site)
    await issuers.refresh()
    old = site.sign()
    site.rotate("RS256")
    assert await who(issuers, site.sign())
    assert await who(issuers, old)


async def test_unknown_keys_make_us_ask_once_in_half_a_minute(site: Issuer) -> None:
    now = 1000.0
    source = key_sources.KeySource(site.url, None, clock=lambda: now)
    for number in range(10):
        assert await source.find(f"unknown-{number}") is None
    assert site.asked_for(JWKS) == 1
    kid = site.rotate("ES256")
    assert await source.find(kid) is None
    now += key_sources.UNKNOWN_KEY_S
    assert await source.find(kid) is not None
    assert site.asked_for(JWKS) == 2


async def test_key_that_the_issuer_withdraws_ends_with_the_next_refresh(site: Issuer) -> None:
    issuers = trust(site)
    token = site.sign()
    assert await who(issuers, token)
    site.keys.clear()
    site.rotate("ES256")
    site.keys["key-2"] = site.keys.pop("key-1")
    await issuers.refresh()
    assert await is_refused(issuers, token)


async def test_known_keys_go_on_while_the_issuer_is_down() -> None:
    async with issuer() as site:
        issuers = trust(site)
        token, another = site.sign(), site.sign(jti="2")
        assert await who(issuers, token)
    await issuers.refresh()
    assert await who(issuers, another)


async def test_issuer_that_never_answered_is_503() -> None:
    async with issuer() as site:
        token = site.sign()
    with pytest.raises(Unavailable):
        await who(trust(site), token)


async def test_named_key_set_is_not_looked_for(site: Issuer) -> None:
    assert await who(trust(site, jwks_uri=f"{site.url}{JWKS}"), site.sign())
    assert site.asked_for(DISCOVERY) == 0


async def test_oauth_metadata_will_do(site: Issuer) -> None:
    found = json.dumps({"issuer": site.url, "jwks_uri": f"{site.url}{JWKS}"}).encode()
    site.pages = {DISCOVERY: page(status="404 Not Found"), "/.well-known/oauth-authorization-server": json_page(found)}
    assert await who(trust(site), site.sign())


@pytest.mark.parametrize(
    "answer", ["other issuer", "other host", "no list", "redirect", "large", "slow", "not json", "500"]
)
async def test_answer_that_cannot_be_right_gives_no_keys(
    site: Issuer, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tmws_gateway.identity.fetching.TIMEOUT_S", 0.3)
    keys = json.dumps({"keys": site.key_set()}).encode()
    async with issuer() as elsewhere:
        elsewhere.pages = {JWKS: json_page(keys)}
        site.pages = {
            "other issuer": {
                DISCOVERY: json_page(b'{"issuer":"https://x.test","jwks_uri":"%s/keys"}' % site.url.encode())
            },
            "other host": {
                DISCOVERY: json_page(json.dumps({"issuer": site.url, "jwks_uri": elsewhere.url + JWKS}).encode())
            },
            "no list": {JWKS: json_page(b'{"keys":{}}')},
            "redirect": {JWKS: moved(elsewhere.url + JWKS)},
            "large": {JWKS: json_page(keys[:-1] + b" " * 300_000 + b"}")},
            "slow": {JWKS: b""},
            "not json": {JWKS: json_page(b"{")},
            "500": {JWKS: page(keys, status="500 Oops")},
        }[answer]
        with pytest.raises(Unavailable):
            await who(trust(site), site.sign())
    assert elsewhere.site.asked == []


async def test_issuer_without_a_certificate_that_is_trusted_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, trusted = server_certificate(tmp_path, "localhost")
    async with website(lambda _: json_page(b'{"keys":[]}'), certificate) as site:
        url = f"https://localhost:{site.port}/keys"
        with pytest.raises(NotFetched, match="certificate"):
            await fetch(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        assert await fetch(url) == b'{"keys":[]}'
        with pytest.raises(NotFetched, match="127"):
            await fetch(url.replace("localhost", "127.0.0.1"))


@pytest.mark.parametrize(
    "url",
    ["http://id.test/keys", "file:///etc/passwd", "gopher://127.0.0.1/", "https://a:b@id.test/", "https://id.test/?x=1",
     "https://id.test/#x", "https:///keys", "https://id.test:0/", "http://[::1", "http://0x7f.1/", "http://0/"],
)  # fmt: skip
async def test_other_urls_are_not_asked(url: str) -> None:
    with pytest.raises(NotFetched, match="must be https"):
        await fetch(url)


async def test_key_for_something_else_is_not_used(site: Issuer) -> None:
    key = site.key_set()[0]
    for change in (
        {"use": "enc"},
        {"alg": "ES384"},
        {"key_ops": ["encrypt"]},
        {"kid": None},
        {"kty": "oct", "k": "AAAA"},
    ):
        site.pages = {JWKS: json_page(json.dumps({"keys": [{**key, **change}]}).encode())}
        assert await is_refused(trust(site), site.sign())
