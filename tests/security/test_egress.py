"""What `http` steps must not reach, in every form, by the machine's own resolver (rows 69, 70 of the design)."""

import gzip
import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from support.certificates import server_certificate
from support.web import Answer, Asked, Website, moved, page, website
from tmws_workflow.egress.allowed import AllowList
from tmws_workflow.egress.client import MAX_BYTES, Egress, Outgoing, TooLarge, Unreadable
from tmws_workflow.egress.guard import Guard, Refused, Resolve, parse_url, resolve
from tmws_workflow.egress.secrets import Secrets

GUARD = Guard(AllowList(), resolve)


@asynccontextmanager
async def egress(allow: str = "", resolver: Resolve = resolve, timeout_s: float = 10) -> AsyncGenerator[Egress]:
    out = Egress(AllowList.parse(allow), Secrets(), timeout_s, resolver=resolver)
    try:
        yield out
    finally:
        await out.close()


@asynccontextmanager
async def two_sites(
    first: Callable[[int], Answer], resolver: Resolve = resolve
) -> AsyncGenerator[tuple[Egress, Website, Website]]:
    """A site whose answer is given the port of another one; both may be reached, as localhost and 127.0.0.1."""
    async with website(lambda asked: page(asked.body)) as second, website(lambda asked: first(second.port)) as site:
        allow = f"127.0.0.1:{site.port},127.0.0.1:{second.port}"
        async with egress(allow, resolver) as out:
            yield out, site, second


def get(url: str, **fields) -> Outgoing:
    return Outgoing("GET", parse_url(url), **fields)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "127.0.1", "0", "0.0", "0.0.0.0",  # noqa: S104 -- nothing is bound
        "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "0x7f.0.0.0x1",
        "localhost", "LOCALHOST", "localhost.", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]",
        "[2001::1]", "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]",
        "169.254.169.254", "2852039166", "0xa9fea9fe", "100.100.100.200", "168.63.129.16", "192.0.0.192",
        "10.0.0.1", "10.1", "172.16.0.1", "192.168.0.1", "198.18.0.1", "224.0.0.1", "255.255.255.255",
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_address_that_is_not_public_is_refused_in_every_form(scheme: str, host: str) -> None:
    with pytest.raises(Refused):
        await GUARD.addresses(parse_url(f"{scheme}://{host}/"))


@pytest.mark.parametrize("port", [0, 22, 25, 5432, 6379, 8080])
async def test_other_ports_are_refused(port: int) -> None:
    with pytest.raises(Refused):
        await GUARD.addresses(parse_url(f"http://8.8.8.8:{port}/"))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "gopher://127.0.0.1:6379/_INFO", "ftp://8.8.8.8/", "unix:///x"])
def test_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(Refused):
        parse_url(url)


async def test_nothing_is_sent_to_a_refused_target() -> None:
    async with website(lambda asked: page(b"secret")) as site, egress() as out:
        with pytest.raises(Refused):
            await out.send(get(f"http://127.0.0.1:{site.port}/"))
        assert site.asked == []


async def test_name_that_changes_its_address_is_connected_where_it_was_checked() -> None:
    """DNS rebinding: the second answer of the resolver is never asked for."""
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    asked_for: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked_for.append(host)
        return next(answers)

    async with website(lambda asked: page(b"here")) as site, egress(f"127.0.0.1:{site.port}", rebinding) as out:
        answer = await out.send(get(f"http://rebinding.example:{site.port}/x"))
        assert (answer.content, asked_for) == (b"here", ["rebinding.example"])
        assert site.asked[0].headers["host"] == f"rebinding.example:{site.port}"
        with pytest.raises(Refused):
            await out.send(get(f"http://rebinding.example:{site.port}/x"))
        assert len(site.asked) == 1


async def test_each_request_asks_the_resolver_anew() -> None:
    async def rebound(host: str, port: int) -> list[str]:
        return ["127.0.0.1"] if host == "first.example" else ["10.0.0.1"]

    def on_to_inside(port: int) -> Answer:
        return moved("http://second.example/")

    async with two_sites(on_to_inside, rebound) as (out, site, _):
        with pytest.raises(Refused, match=r"second\.example:80"):
            await out.send(get(f"http://first.example:{site.port}/"))


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1/", "http://169.254.169.254/latest", "http://[::1]/", "file:///etc/passwd", "gopher://x/", "//0/",
     "http://user:pw@8.8.8.8/", "http://127.0.0.1:6379/", "http://[", "http://a:b/"],
)  # fmt: skip
async def test_redirect_to_the_inside_is_refused(location: str) -> None:
    async with website(lambda asked: moved(location)) as site, egress(f"127.0.0.1:{site.port}") as out:
        with pytest.raises(Refused):
            await out.send(get(f"http://127.0.0.1:{site.port}/"))
        assert len(site.asked) == 1


async def test_fourth_redirect_is_not_followed() -> None:
    async with website(lambda asked: moved("/again")) as site, egress(f"127.0.0.1:{site.port}") as out:
        with pytest.raises(Refused, match="more than 3 redirects"):
            await out.send(get(f"http://127.0.0.1:{site.port}/"))
        assert len(site.asked) == 4


CREDENTIALS = {"authorization": "Bearer x", "cookie": "a=b", "x-api-key": "k", "accept": "text/plain"}


async def test_credentials_stay_with_the_host_they_are_for() -> None:
    async with two_sites(lambda port: moved(f"http://127.0.0.1:{port}/")) as (out, site, second):
        await out.send(get(f"http://127.0.0.1:{site.port}/", headers=CREDENTIALS))
    assert site.asked[0].headers.items() >= CREDENTIALS.items()
    assert second.asked[0].headers["accept"] == "text/plain"
    assert CREDENTIALS.keys() & second.asked[0].headers.keys() == {"accept"}


async def test_credentials_are_kept_within_the_host() -> None:
    def once(asked: Asked) -> Answer:
        return moved("/there") if asked.target == "/" else page()

    async with website(once) as site, egress(f"127.0.0.1:{site.port}") as out:
        await out.send(get(f"http://127.0.0.1:{site.port}/", headers=CREDENTIALS))
    assert site.asked[1].headers["authorization"] == "Bearer x"


@pytest.mark.parametrize(
    ("status", "method", "becomes"),
    [("301 x", "POST", "GET"), ("302 x", "POST", "GET"), ("303 x", "PUT", "GET"), ("307 x", "POST", "POST"),
     ("308 x", "PUT", "PUT"), ("302 x", "PUT", "PUT"), ("303 x", "HEAD", "HEAD")],
)  # fmt: skip
async def test_redirect_changes_the_method_as_in_browsers(status: str, method: str, becomes: str) -> None:
    def once(asked: Asked) -> Answer:
        return moved("/there", status) if asked.target == "/" else page()

    async with website(once) as site, egress(f"127.0.0.1:{site.port}") as out:
        content = None if method == "HEAD" else b"body"
        await out.send(Outgoing(method, parse_url(f"http://127.0.0.1:{site.port}/"), content=content))
    assert site.asked[1].method == becomes
    assert site.asked[1].body == (content if becomes == method and content else b"")


async def test_cookies_of_one_request_are_not_sent_with_the_next() -> None:
    async with (
        website(lambda asked: page(b"", "Set-Cookie: session=1")) as site,
        egress(f"127.0.0.1:{site.port}") as out,
    ):
        for _ in range(2):
            await out.send(get(f"http://127.0.0.1:{site.port}/"))
    assert "cookie" not in site.asked[1].headers


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with website(lambda asked: page(b"proxy")) as proxy, website(lambda asked: page(b"direct")) as site:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with egress(f"127.0.0.1:{site.port}") as out:
            answer = await out.send(get(f"http://127.0.0.1:{site.port}/"))
    assert (answer.content, proxy.asked) == (b"direct", [])


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_bomb_is_stopped_while_it_is_decompressed(coding: str) -> None:
    compress = {"gzip": gzip.compress, "deflate": zlib.compress}[coding]
    bomb = page(compress(bytes(64 * MAX_BYTES)), f"Content-Encoding: {coding}")
    async with website(lambda asked: bomb) as site, egress(f"127.0.0.1:{site.port}") as out:
        with pytest.raises(TooLarge):
            await out.send(get(f"http://127.0.0.1:{site.port}/"))


@pytest.mark.parametrize("coding", ["gzip, gzip", "br", "zstd", "x"])
async def test_coding_nobody_asked_for_is_refused(coding: str) -> None:
    coded = page(b"x", f"Content-Encoding: {coding}")
    async with website(lambda asked: coded) as site, egress(f"127.0.0.1:{site.port}") as out:
        with pytest.raises(Unreadable):
            await out.send(get(f"http://127.0.0.1:{site.port}/"))


async def test_endless_answer_is_stopped_at_the_limit() -> None:
    def endless(asked: Asked) -> Answer:
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        while True:
            yield b"10000\r\n" + bytes(0x10000) + b"\r\n"

    async with website(endless) as site, egress(f"127.0.0.1:{site.port}") as out:
        with pytest.raises(TooLarge):
            await out.send(get(f"http://127.0.0.1:{site.port}/", max_bytes=1_000_000))


async def test_silent_server_is_left_at_the_deadline() -> None:
    async with website(lambda asked: b"") as site, egress(f"127.0.0.1:{site.port}", timeout_s=0.2) as out:
        with pytest.raises(TimeoutError):
            await out.send(get(f"http://127.0.0.1:{site.port}/"))
        await site.has_hung_up.wait()


async def test_next_address_is_tried_when_one_does_not_answer() -> None:
    async def two(host: str, port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    async with website(lambda asked: page(b"here")) as site, egress(f"127.0.0.0/8:{site.port}", two) as out:
        assert (await out.send(get(f"http://two.example:{site.port}/"))).content == b"here"


async def to_loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


async def test_server_is_told_and_must_prove_the_name_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the connection goes to the checked address: Host, server name and certificate are those of the URL."""
    certificate, trusted = server_certificate(tmp_path, "secure.example")
    names: list[str | None] = []
    certificate.sni_callback = lambda _, name, __: names.append(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    served = website(lambda asked: page(b"safe"), certificate)
    async with served as site, egress(f"127.0.0.1:{site.port}", to_loopback) as out:
        answer = await out.send(get(f"https://secure.example:{site.port}/"))
        with pytest.raises(httpx2.ConnectError, match="Hostname mismatch"):
            await out.send(get(f"https://other.example:{site.port}/"))
    assert (answer.content, names) == (b"safe", ["secure.example", "other.example"])
    assert [asked.headers["host"] for asked in site.asked] == [f"secure.example:{site.port}"]


async def test_certificate_of_nobody_we_trust_is_refused(tmp_path: Path) -> None:
    certificate, _ = server_certificate(tmp_path, "secure.example")
    served = website(lambda asked: page(), certificate)
    async with served as site, egress(f"127.0.0.1:{site.port}", to_loopback) as out:
        with pytest.raises(httpx2.ConnectError, match="self-signed certificate"):
            await out.send(get(f"https://secure.example:{site.port}/"))
    assert site.asked == []
