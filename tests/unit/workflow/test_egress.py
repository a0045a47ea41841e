"""Which addresses, ports and URLs may be reached, and who gets a secret."""

from datetime import UTC, datetime
from ipaddress import ip_address

import httpx2
import pytest

from tmws_workflow.egress.addresses import is_public
from tmws_workflow.egress.allowed import AllowList
from tmws_workflow.egress.client import Egress
from tmws_workflow.egress.guard import Guard, Refused, Unresolved, parse_url
from tmws_workflow.egress.secrets import REDACTED, Secrets, redact
from tmws_workflow.steps.http import MAX_RETRY_AFTER_S, retry_after_s

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SECRETS = '{"KEY": {"value": "s3cret-value", "hosts": ["api.example.com"], "namespaces": ["team"]}}'


def resolving(*addresses: str):
    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    return resolve


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.1", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.169.254",
        "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
        "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1",
        "2001::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::1", "3fff::1", "5f00::1", "fc00::1",
        "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2606:4700::1%eth0",
    ],
)  # fmt: skip
def test_special_address_is_not_public(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "100.128.0.1", "172.32.0.1", "192.169.0.1", "2606:4700::1", "2a00:1450:4001::1"]
)
def test_address_of_the_internet_is_public(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize("port", [22, 25, 6379, 5432, 8080, 0, 99999])
def test_public_host_is_refused_on_other_ports(port):
    assert not AllowList().permits("example.com", port, ip_address("8.8.8.8"))


@pytest.mark.parametrize(
    ("setting", "host", "port", "address"),
    [
        ("build.internal:8080", "build.internal", 8080, "10.0.0.5"),
        ("Build.Internal", "build.internal", 443, "10.0.0.5"),
        ("10.1.0.0/16:9000", "anything", 9000, "10.1.2.3"),
        ("127.0.0.1:9000", "127.0.0.1", 9000, "127.0.0.1"),
        ("[fd00::/8]:443", "anything", 443, "fd00::1"),
        ("*:8443", "example.com", 8443, "8.8.8.8"),
        (" a:1 , b:2 ", "b", 2, "10.0.0.1"),
    ],
)
def test_listed_target_is_permitted(setting, host, port, address):
    assert AllowList.parse(setting).permits(host, port, ip_address(address))


@pytest.mark.parametrize(
    ("setting", "host", "port", "address"),
    [
        ("build.internal:8080", "build.internal", 8081, "10.0.0.5"),
        ("build.internal:8080", "other.internal", 8080, "10.0.0.5"),
        ("build.internal:8080", "build.internal.evil.com", 8080, "10.0.0.5"),
        ("10.1.0.0/16:9000", "anything", 9000, "10.2.0.1"),
        ("10.1.0.0/16:9000", "anything", 9000, "::ffff:10.1.0.1"),
        ("*:8443", "example.com", 8443, "10.0.0.1"),
    ],
)
def test_target_beside_the_list_is_not_permitted(setting, host, port, address):
    assert not AllowList.parse(setting).permits(host, port, ip_address(address))


@pytest.mark.parametrize(
    "setting", ["http://x", "x:0", "x:70000", "x:y", "10.0.0.1/8:80", "*.internal:80", "300.1.1.1:80", "a b", "[::1"]
)
def test_allow_list_that_cannot_be_read_is_refused(setting):
    with pytest.raises(ValueError, match="must be items such as"):
        AllowList.parse(setting)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.com/", "https or http"),
        ("file:///etc/passwd", "https or http"),
        ("gopher://example.com:6379/_", "https or http"),
        ("//example.com/", "https or http"),
        ("example.com", "https or http"),
        ("http://user:pw@example.com/", "credentials"),
        ("http://127.0.0.1\\@example.com/", "credentials"),
        ("http:///path", "name a host"),
        ("http://a b/", "name a host"),
        ("http://a%00/", "name a host"),
        ("http://[fe80::1%25eth0]/", "name a host"),
        ("http://x:y/", "cannot be read"),
        ("http://" + "a" * 9000, "longer than"),
    ],
)
def test_url_that_no_step_may_ask_for_is_refused(url, reason):
    with pytest.raises(Refused, match=reason):
        parse_url(url)


async def test_name_is_refused_when_one_of_its_addresses_is_not_public():
    guard = Guard(AllowList(), resolving("8.8.8.8", "10.0.0.1"))
    with pytest.raises(Refused, match=r"mixed\.example:443 must not be reached"):
        await guard.addresses(httpx2.URL("https://mixed.example/"))


async def test_refusal_does_not_tell_the_address():
    with pytest.raises(Refused) as caught:
        await Guard(AllowList(), resolving("10.20.30.40")).addresses(httpx2.URL("https://intranet.example/"))
    assert "10.20" not in str(caught.value)


async def test_public_name_gives_all_its_addresses():
    guard = Guard(AllowList(), resolving("8.8.8.8", "2606:4700::1"))
    assert await guard.addresses(httpx2.URL("https://example.com/")) == ["8.8.8.8", "2606:4700::1"]


async def test_name_without_addresses_is_not_resolved():
    with pytest.raises(Unresolved):
        await Guard(AllowList(), resolving()).addresses(httpx2.URL("https://example.com/"))


def test_secret_is_for_its_hosts_and_namespaces_alone():
    secrets = Secrets.parse(SECRETS)
    assert secrets.get("KEY", "api.example.com", "team") == "s3cret-value"
    assert secrets.get("KEY", "evil.example.com", "team") is None
    assert secrets.get("KEY", "api.example.com", "other") is None
    assert secrets.get("NONE", "api.example.com", "team") is None


@pytest.mark.parametrize(
    ("url", "allow", "is_sent"),
    [
        ("https://api.example.com/", "", True),
        ("https://API.example.com:8443/", "", True),
        ("http://api.example.com/", "", False),
        ("http://api.example.com/", "*:80", False),
        ("http://api.example.com/", "api.example.com:8080", False),
        ("http://api.example.com:8080/", "api.example.com:8080", True),
        ("http://10.0.0.1/", "10.0.0.0/8", True),
        ("http://10.0.0.1/", "", False),
    ],
)
async def test_secret_is_sent_without_tls_only_where_the_operator_lists_the_host(url: str, allow: str, is_sent: bool):
    known = Secrets.parse('{"KEY": {"value": "s3cret-value", "hosts": ["API.example.com", "10.0.0.1"]}}')
    out = Egress(AllowList.parse(allow), known, 1)
    assert (out.secret("KEY", parse_url(url), "any") is not None) is is_sent
    await out.close()


@pytest.mark.parametrize(
    "text",
    ["[]", "{", '{"A": "plain"}', '{"A": {"value": "short", "hosts": ["h"]}}', '{"A": {"value": "long enough"}}'],
)
def test_secrets_that_cannot_be_read_are_refused_without_being_repeated(text):
    with pytest.raises(ValueError, match="must be a JSON object such as") as caught:
        Secrets.parse(text)
    assert "long enough" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_secret_is_taken_out_of_keys_and_values_at_any_depth():
    value = {"a": ["x s3cret-value y", {"s3cret-value": 1}], "b": 2}
    assert redact(value, ["s3cret-value"]) == {"a": [f"x {REDACTED} y", {REDACTED: 1}], "b": 2}


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("7", 7),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0),
        ("99999999999999999999", MAX_RETRY_AFTER_S),
        ("Sun, 22 Nov 2099 12:00:00 GMT", MAX_RETRY_AFTER_S),
        ("soon", 0),
        ("-5", 0),
        ("", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_bounded(given, seconds):
    assert retry_after_s(given, NOW) == seconds
