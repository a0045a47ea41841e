"""What the `with` of an `http` step may hold, and the request it becomes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import httpx2
import orjson

from tmws_workflow.egress.client import MAX_BYTES, Outgoing
from tmws_workflow.egress.guard import Refused, name_of, parse_url
from tmws_workflow.steps.base import Argument, StepCall, StepFailed, refuse_arguments, type_problems
from tmws_workflow.templates import Text

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
ARGUMENTS = {
    "url": Argument((str,), is_required=True),
    "method": Argument((str,)),
    "headers": Argument((dict,)),
    "query": Argument((dict,)),
    "json": Argument((object, bool, str)),
    "body": Argument((str,)),
    "expect_status": Argument((int, list)),
    "max_bytes": Argument((int,)),
}
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}", re.ASCII)
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,8192}")
# These frame the message, or are ours.
_RESERVED = frozenset(
    {
        "accept-encoding", "connection", "content-length", "expect", "host", "idempotency-key", "keep-alive",
        "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_SECRET_FIELDS = frozenset({"secret", "prefix"})


def check_arguments(arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (member, what is wrong); what is still an expression, or None, is not known yet and fits."""
    given = {name: value for name, value in arguments.items() if value is not None}
    problems = [(name, detail) for name, check in _CHECKS.items() if name in given and (detail := check(given[name]))]
    if "json" in arguments and "body" in arguments:
        problems.append(("body", "must not be given together with json"))
    return problems


def build_request(call: StepCall) -> tuple[Outgoing, list[str]]:
    """Return the request of a step, and the secrets in it.

    Raises:
        StepFailed: an argument is not as it must be.
    """
    given = call.arguments
    refuse_arguments(type_problems(given, ARGUMENTS) or check_arguments(given))
    url = parse_url(given["url"])
    if given.get("query"):
        url = _with_query(url, given["query"])
    headers, secrets = _headers(call, url)
    content = _content(given, headers)
    expected = given.get("expect_status", [])
    request = Outgoing(
        method=given.get("method", "GET"),
        url=url,
        headers={**headers, "idempotency-key": call.idempotency_key},
        content=content,
        expected=frozenset(cast("list[int]", expected) if isinstance(expected, list) else [expected]),
        max_bytes=given.get("max_bytes", MAX_BYTES),
    )
    return request, secrets


def _with_query(url: httpx2.URL, query: dict[str, Any]) -> httpx2.URL:
    try:
        return parse_url(str(url.copy_merge_params({name: _listed(value) for name, value in query.items()})))
    except (Refused, httpx2.InvalidURL):
        raise StepFailed("argument", "/with/query: the URL must not become longer than 8192 characters") from None


def _headers(call: StepCall, url: httpx2.URL) -> tuple[dict[str, str], list[str]]:
    headers: dict[str, str] = {}
    secrets: list[str] = []
    for name, value in call.arguments.get("headers", {}).items():
        if isinstance(value, dict):
            reference = cast("dict[str, str]", value)
            secret = call.services.egress.secret(reference["secret"], url, call.principal.namespace)
            if secret is None:
                detail = f"there is no such secret for {name_of(url)}, or it would go there without TLS"
                raise StepFailed("secret", f"/with/headers: {detail}")
            secrets.append(secret)
            value = reference.get("prefix", "") + secret  # noqa: PLW2901 -- the reference becomes what it stands for
        headers[name.lower()] = value
    return headers, secrets


def _content(given: Mapping[str, Any], headers: dict[str, str]) -> bytes | None:
    if "json" in given:
        headers.setdefault("content-type", "application/json")
        # Attempts must send the same bytes, and a JSON object read back from the table has its keys in another order.
        return orjson.dumps(given["json"], option=orjson.OPT_SORT_KEYS)
    return given["body"].encode() if "body" in given else None


def _check_url(url: str) -> str | None:
    try:
        parse_url(url)
    except Refused as refusal:
        return str(refusal)
    return None


def _check_method(method: Any) -> str | None:
    return None if not isinstance(method, str) or method in METHODS else f"must be one of {', '.join(METHODS)}"


def _check_headers(headers: Any) -> str | None:
    if not isinstance(headers, dict):
        return None
    named = cast("dict[str, Any]", headers)
    if not all(_NAME.fullmatch(name) for name in named):
        return "must have names of headers as members"
    if len({name.lower() for name in named}) < len(named):
        return "must not name a header twice"
    if reserved := sorted(_RESERVED.intersection(name.lower() for name in named)):
        return f"must not set {', '.join(reserved)}"
    if all(map(_is_header, named.values())):
        return None
    return 'must have strings of one line as values, or {"secret": "NAME", "prefix": "Bearer "}'


def _is_header(value: Any) -> bool:
    if isinstance(value, dict):
        reference = cast("dict[str, Any]", value)
        is_complete = "secret" in reference and reference.keys() <= _SECRET_FIELDS
        return is_complete and all(_is_text(item) for item in reference.values())
    return _is_text(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, Text) or (isinstance(value, str) and _VALUE.fullmatch(value) is not None)


def _check_query(query: Any) -> str | None:
    if not isinstance(query, dict):
        return None
    values = [item for value in cast("dict[str, Any]", query).values() for item in _listed(value)]
    fits = all(isinstance(value, (str, int, float, Text)) for value in values)
    return None if fits else "must have strings, numbers, booleans or lists of them as values"


def _listed(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def _check_statuses(given: Any) -> str | None:
    if not isinstance(given, list) and not _is_integer(given):
        return None
    statuses = _listed(given)
    fits = all(isinstance(item, Text) or (_is_integer(item) and 100 <= item <= 599) for item in statuses)
    return None if statuses and fits else "must be a status from 100 to 599, or a list of them"


def _check_max_bytes(limit: Any) -> str | None:
    return None if not _is_integer(limit) or 0 < limit <= MAX_BYTES else f"must be from 1 to {MAX_BYTES}"


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_CHECKS: Mapping[str, Callable[[Any], str | None]] = {
    "url": lambda url: _check_url(url) if isinstance(url, str) else None,
    "method": _check_method,
    "headers": _check_headers,
    "query": _check_query,
    "expect_status": _check_statuses,
    "max_bytes": _check_max_bytes,
}
