"""`http`: a request to the outside; its output is the answer."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import orjson

from tmws_contracts.common import check_document
from tmws_workflow.egress.client import Outgoing, Received, TooLarge, Unreadable
from tmws_workflow.egress.guard import Refused, Unresolved
from tmws_workflow.egress.secrets import redact
from tmws_workflow.engine import Completed, Outcome
from tmws_workflow.steps.base import SERVICE_RETRY, Simple, StepCall, StepFailed
from tmws_workflow.steps.http_arguments import ARGUMENTS, build_request, check_arguments

MAX_RETRY_AFTER_S = 3600.0
MAX_TOLD_BYTES = 8 * 1024
_ASK_AGAIN = frozenset({408, 429})
# They say who somebody is, and would be kept with the output.
_NOT_KEPT = frozenset({"set-cookie", "set-cookie2"})


class Http(Simple):
    """Sends a request; its output is `{status, headers, body, is_base64}`, the body parsed when it is JSON."""

    uses = "http"
    arguments = ARGUMENTS
    retry = SERVICE_RETRY

    def check(self, arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Check what is literal."""
        return check_arguments(arguments)

    async def start(self, call: StepCall) -> Outcome:
        """Send the request."""
        request, secrets = build_request(call)
        answer = await _send(call, request, secrets)
        is_expected = answer.status in request.expected if request.expected else 200 <= answer.status < 300
        if not is_expected:
            raise _unexpected(answer, secrets, call.now)
        return Completed(_output(answer, secrets))


async def _send(call: StepCall, request: Outgoing, secrets: Sequence[str]) -> Received:
    try:
        return await call.services.egress.send(request)
    except Refused as refusal:
        raise StepFailed("target_refused", redact(f"/with/url: {refusal}", secrets)) from None
    except TooLarge as error:
        raise StepFailed("too_large", str(error)) from None
    except (Unreadable, httpx2.DecodingError):
        raise StepFailed("unreadable", "The answer's Content-Encoding cannot be undone.") from None
    except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError):
        raise StepFailed("argument", "The request cannot be sent as it is.") from None
    except Unresolved as error:
        raise StepFailed("unreachable", redact(str(error), secrets), retry_after_s=0) from None
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        raise StepFailed("unreachable", f"There is no connection: {error}", retry_after_s=0) from None
    # From here on it may have been sent: `at_most_once` goes by this code.
    except TimeoutError:
        raise StepFailed("unanswered", "The answer did not come in time.", retry_after_s=0) from None
    except httpx2.TransportError as error:
        raise StepFailed("unanswered", f"The answer was broken off: {error}", retry_after_s=0) from None


def _unexpected(answer: Received, secrets: Sequence[str], now: datetime) -> StepFailed:
    """A status nobody expected; some are worth another attempt."""
    is_transient = answer.status in _ASK_AGAIN or answer.status >= 500
    told = _parse(answer.content) if _is_json(answer) and len(answer.content) <= MAX_TOLD_BYTES else None
    return StepFailed(
        "status",
        f"The server answered {answer.status}.",
        retry_after_s=retry_after_s(answer.headers.get("retry-after", ""), now) if is_transient else None,
        status=answer.status,
        problem=redact(told, secrets) if isinstance(told, dict) else None,
    )


def retry_after_s(given: str, now: datetime) -> float:
    """Return the pause a Retry-After asks for, at most an hour: seconds, or a date (RFC 9110, section 10.2.3)."""
    text = given.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MAX_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - now).total_seconds()), MAX_RETRY_AFTER_S)


def _output(answer: Received, secrets: Sequence[str]) -> dict[str, Any]:
    body, is_base64 = _body(answer, secrets)
    headers = {name: value for name, value in answer.headers.items() if name not in _NOT_KEPT}
    return {"status": answer.status, "headers": redact(headers, secrets), "body": body, "is_base64": is_base64}


def _body(answer: Received, secrets: Sequence[str]) -> tuple[Any, bool]:
    if not answer.content:
        return None, False
    if _is_json(answer):
        parsed = _parse(answer.content)
        if parsed is None and answer.content.strip() != b"null":
            raise StepFailed("unreadable", "The answer says that it is JSON, and is none that can be kept.")
        return redact(parsed, secrets), False
    try:
        text = answer.content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text:
        return redact(text, secrets), False
    content = answer.content
    for secret in secrets:
        content = content.replace(secret.encode(), b"*" * len(secret))
    return base64.b64encode(content).decode(), True


def _is_json(answer: Received) -> bool:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _parse(content: bytes) -> Any:
    """Return the JSON value; None when it is none, or none that the database can keep."""
    try:
        value = orjson.loads(content)
        check_document({"body": value})
    except ValueError:
        return None
    return value
