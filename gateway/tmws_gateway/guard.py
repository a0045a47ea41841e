"""The edge guard: refuses requests that two readers could understand in two ways, before anything else sees them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from itertools import chain
from urllib.parse import SplitResult, unquote_to_bytes

from starlette.types import Scope

from tmws_gateway.errors import ForbiddenOrigin, HeadersTooLarge, MisdirectedRequest, UriTooLong
from tmws_shared.framing import HeaderList
from tmws_shared.problems import MalformedRequest, UnsupportedMediaType

MAX_HEADERS = 100
MAX_HEADER_BYTES = 16 * 1024
MAX_URL_BYTES = 8 * 1024
MAX_QUERY_KEYS = 100
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
# An orchestrator's probes have the address of the pod as their Host; their answers are worth no rebinding.
PROBES = frozenset({"/livez", "/readyz"})
_SINGLE = (b"host", b"authorization", b"content-length", b"content-type", b"origin", b"transfer-encoding")
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?", re.IGNORECASE)
# Nothing to decode, and no segment that is special: almost every path.
_PLAIN_PATH = re.compile(rb"(?:/[A-Za-z0-9_-][A-Za-z0-9_.:@~-]*)+")
_LENGTH = re.compile(rb"\d{1,15}")
_JSON_TYPE = re.compile(rb'application/json[ \t]*(?:;[ \t]*charset[ \t]*=[ \t]*"?utf-8"?[ \t]*)?', re.IGNORECASE)

_STREAM_TYPE = re.compile(_JSON_TYPE.pattern.replace(b"json", b"(?:json|x-ndjson)", 1), re.IGNORECASE)

Headers = dict[bytes, bytes]


class Guard:
    """Knows which hosts and origins are ours."""

    def __init__(self, public_urls: Iterable[SplitResult], origins: Iterable[str], api_host: str) -> None:
        public_urls = list(public_urls)
        self._hosts = LOOPBACK_NAMES | {url.hostname or "" for url in public_urls} | {api_host.lower()}
        self._origins = frozenset(origins) | {f"{url.scheme}://{url.netloc}" for url in public_urls}

    def check(self, scope: Scope) -> str:
        """Return the decoded path of a request whose head is fit to be looked at.

        Raises:
            ProblemError: it is not; which one says why.
        """
        _check_size(scope)
        headers = single_headers(scope)
        _check_framing(scope, headers)
        path = decode_path(scope["raw_path"])
        if path not in PROBES:
            self._check_host(headers)
        self._check_origin(headers)
        return path

    def _check_host(self, headers: Headers) -> None:
        host = headers.get(b"host")
        if host is None:
            raise MalformedRequest("@Host: must be given once")
        if host_name(host) not in self._hosts:
            raise MisdirectedRequest("@Host: must be a loopback name or that of TMWS_PUBLIC_URL")

    def _check_origin(self, headers: Headers) -> None:
        origin = headers.get(b"origin")
        if origin is None:
            return
        # The Host was allowed, so a page from there is our own.
        host = headers.get(b"host", b"").lower()
        same = origin.lower() in (b"http://" + host, b"https://" + host)
        if same or origin.decode("latin-1") in self._origins or ("*" in self._origins and origin != b"null"):
            return
        raise ForbiddenOrigin("@Origin: must be named in TMWS_CORS_ORIGINS")


@lru_cache(256)
def host_name(host: bytes) -> str:
    """Return the name in a Host header, without its port; empty when it is not a name."""
    found = _HOST.fullmatch(host.decode("latin-1"))
    return (found.group(1) or found.group(2)).lower() if found else ""


def _check_size(scope: Scope) -> None:
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_URL_BYTES:
        raise UriTooLong(f"The path and query must not be longer than {MAX_URL_BYTES} bytes.")
    headers: HeaderList = scope["headers"]
    if len(headers) > MAX_HEADERS or 4 * len(headers) + sum(map(len, chain(*headers))) > MAX_HEADER_BYTES:
        raise HeadersTooLarge(f"At most {MAX_HEADERS} headers and {MAX_HEADER_BYTES} bytes of them.")


def single_headers(scope: Scope) -> Headers:
    """Return the headers by their names.

    Raises:
        MalformedRequest: one that may come once only came twice.
    """
    headers = scope["headers"]
    found: Headers = dict(headers)
    if len(found) < len(headers):
        times = Counter(name for name, _ in headers)
        twice = next((name for name in _SINGLE if times[name] > 1), None)
        if twice is not None:
            raise MalformedRequest(f"@{twice.decode()}: must not be given twice")
    return found


def _check_framing(scope: Scope, headers: Headers) -> None:
    """Refuse bodies whose end is doubtful (RFC 9112, section 6)."""
    length, encoding = headers.get(b"content-length"), headers.get(b"transfer-encoding")
    if length is not None and (encoding is not None or not _LENGTH.fullmatch(length)):
        raise MalformedRequest("@Content-Length: must be one number, and not beside Transfer-Encoding")
    if encoding is not None and (encoding.lower() != b"chunked" or scope["http_version"] == "1.0"):
        raise MalformedRequest("@Transfer-Encoding: must be chunked, in HTTP/1.1")


def decode_path(raw: bytes) -> str:
    """Return a path decoded once.

    Raises:
        MalformedRequest: after decoding it could be read in another way: as other segments, or once more.
    """
    if _PLAIN_PATH.fullmatch(raw):
        return raw.decode()
    segments = raw.split(b"/")
    decoded = [unquote_to_bytes(segment) for segment in segments]
    if any(segment in (b".", b"..") or b"/" in segment or b"%" in segment or b"\\" in segment for segment in decoded):
        raise MalformedRequest("#path: must not contain dot segments, encoded slashes or double encodings")
    if any(byte < 0x20 or byte == 0x7F for segment in decoded for byte in segment):
        raise MalformedRequest("#path: must not contain control characters")
    try:
        return b"/".join(decoded).decode()
    except UnicodeDecodeError:
        raise MalformedRequest("#path: must be UTF-8") from None


def check_query(query: bytes, repeatable: frozenset[str]) -> None:
    """Return when every key of the query comes once, or may come again.

    Raises:
        MalformedRequest: one does not, or the query is not UTF-8 text.
    """
    if not query:
        return
    pairs = query.split(b"&")
    try:
        keys = [unquote_to_bytes(pair.partition(b"=")[0].replace(b"+", b" ")).decode() for pair in pairs]
        text = unquote_to_bytes(query).decode()
    except UnicodeDecodeError:
        raise MalformedRequest("?: must be UTF-8") from None
    if "\0" in text or len(pairs) > MAX_QUERY_KEYS:
        raise MalformedRequest(f"?: must not contain U+0000 or more than {MAX_QUERY_KEYS} parameters")
    twice = [key for key, times in Counter(keys).items() if times > 1 and key not in repeatable]
    if twice:
        raise MalformedRequest(f"?{_printable(twice[0])}: must not be given twice")


def _printable(name: str) -> str:
    return "".join(char for char in name[:64] if char.isprintable())


def check_body_type(scope: Scope) -> None:
    """Return when the body is said to be plain JSON in UTF-8.

    Raises:
        UnsupportedMediaType: it is compressed, or something else.
    """
    if not _JSON_TYPE.fullmatch(_content_type(scope)):
        raise UnsupportedMediaType("@Content-Type: must be application/json in UTF-8")


def check_stream_type(scope: Scope) -> None:
    """Return when the body is said to be plain NDJSON, or JSON, in UTF-8.

    Raises:
        UnsupportedMediaType: it is compressed, or something else.
    """
    if not _STREAM_TYPE.fullmatch(_content_type(scope)):
        raise UnsupportedMediaType("@Content-Type: must be application/x-ndjson or application/json in UTF-8")


def _content_type(scope: Scope) -> bytes:
    kind = b""
    for name, value in scope["headers"]:
        if name == b"content-encoding" and value.lower() != b"identity":
            raise UnsupportedMediaType("@Content-Encoding: must not be given")
        if name == b"content-type":
            kind = value
    return kind
