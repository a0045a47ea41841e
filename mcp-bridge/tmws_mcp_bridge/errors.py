"""What an agent is told when a call fails: one or two sentences that say what to do next.

ToolError (fastmcp)
└── CallFailed
    ├── InvalidArguments   the arguments do not fit the tool's schema
    ├── NotRunning         nothing answers at TMWS_URL
    ├── NoAnswer           the connection died or the answer did not come in time; the outcome is unknown
    ├── NotTmws            something else answers there
    ├── NoCredential       the token cannot be read or sent
    └── Refused            the gateway answered with a problem document
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Set
from typing import Any, cast

from fastmcp.exceptions import FastMCPError, ToolError
from fastmcp.exceptions import ValidationError as InvalidParams
from pydantic import ValidationError

_SHOWN = 3
_NEXT_STEP = {
    400: "Correct it and call again.",
    403: "Ask for a key that has it.",
    404: "Check the id.",
    413: "Send less.",
    422: "Correct it and call again.",
    429: "Wait, then call again.",
    503: "Call again shortly; the same call is never carried out twice.",
}
# Where the gateway's words are meant for somebody with curl.
_OWN_WORDS = {
    401: "TMWS needs a valid API key: set TMWS_TOKEN in the client's configuration, or over HTTP send it as "
    "`Authorization: Bearer …` (docs/mcp.md).",
    412: "Somebody else changed it: read it again and decide anew.",
}
# A problem document's own fields; whatever else it has is a fact worth telling.
_STANDARD = frozenset({"type", "title", "status", "detail", "instance", "trace_id", "retryable", "errors"})
_POINTER = re.compile(r"[/?@#]\S+$")
_NOT_NULL = "none_required"
_TIME = "must be a time with its zone, such as 2026-03-01T12:00:00Z"
_PLAIN_WORDS = {
    "missing": "is required",
    "missing_argument": "is required",
    "extra_forbidden": "is not a field here",
    "unexpected_keyword_argument": "is not an argument of this tool",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
    "dict_type": "must be a JSON object",
    "datetime_type": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "timezone_aware": _TIME,
}
# "Input should be …", "UUID input should be …", "Value should have …"
_SHOULD = re.compile(r"^[A-Z][\w ]* should\b")
_TOO_LONG = re.compile(r"^must have at most (\d+) items after validation.*")
_LISTING = frozenset({"enum", "literal_error"})


class CallFailed(ToolError):
    """A tool call failed, and the message may be shown to the agent."""

    outcome_known = True

    def __init__(self, message: str) -> None:
        # It is an answer, not a fault of the bridge.
        super().__init__(message, log_level=logging.INFO)


class InvalidArguments(CallFailed):
    """The arguments do not fit the tool's schema."""

    @classmethod
    def of(cls, error: ValidationError) -> InvalidArguments:
        """Return what is wrong, without the values that were rejected."""
        found = error.errors(include_url=False, include_context=False, include_input=False)
        # An argument that may be null is a choice of two, and the error of each says which of them it is.
        nullable = {item["loc"][:-1] for item in found if item["type"] == _NOT_NULL}
        told = [item for item in found if item["type"] != _NOT_NULL]
        return cls(_sentence(f"{_path(item['loc'], nullable)} {_words(item['type'], item['msg'])}" for item in told))


class NotRunning(CallFailed):
    """Nothing answers; an attempt before may have come through."""

    outcome_known = False

    def __init__(self, url: str) -> None:
        super().__init__(f"TMWS is not running at {url}: start it with `./taskw up` in its folder, then call again.")


class NoAnswer(CallFailed):
    """Whether the call was carried out is not known."""

    outcome_known = False

    def __init__(self, url: str) -> None:
        super().__init__(
            f"TMWS at {url} did not answer in time. Make the same call again: it is never carried out twice."
        )


class NotTmws(CallFailed):
    """Something else listens there."""

    def __init__(self, url: str) -> None:
        super().__init__(f"What answers at {url} is not TMWS; set TMWS_URL to the address that `./taskw up` prints.")


class NoCredential(CallFailed):
    """The token cannot be used."""


class Refused(CallFailed):
    """The gateway refused the request."""

    def __init__(self, status: int, document: Mapping[str, Any], *, within: str = "", wait_s: int = 0) -> None:
        self.status = status
        self.document = document
        self.wait_s = wait_s
        self.outcome_known = status < 500
        super().__init__(" ".join(filter(None, (self._said(within), _facts(document), self._next_step()))))

    @property
    def is_retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return bool(self.document.get("retryable"))

    def _said(self, within: str) -> str:
        if self.status in _OWN_WORDS:
            return _OWN_WORDS[self.status]
        detail = str(self.document.get("detail") or self.document.get("title") or f"status {self.status}")
        pointer, colon, rest = detail.partition(": ")
        is_pointed = colon and _POINTER.match(pointer)
        plain = f"{_argument(pointer, within)} {rest}" if is_pointed else detail
        fields = _fields(self.document, within)
        # A conflict says beside the field what to do about it.
        if fields and (is_pointed or self.status != 409):
            return fields
        return " ".join(filter(None, (fields, _full_stop(plain))))

    def _next_step(self) -> str:
        if self.status == 429 and self.wait_s:
            return f"Wait {self.wait_s} s, then call again."
        if self.status == 500:
            return f"The log of TMWS has the reason under trace {self.document.get('trace_id')}."
        if self.status == 403 and self.document.get("error") != "insufficient_scope":
            return "Correct it, or ask for a key that may." if self.document.get("errors") else ""
        return _NEXT_STEP.get(self.status, "")


def of_protocol(failure: CallFailed) -> FastMCPError:
    """Return the failure for what has no error results of its own (resources, prompts); never logged as a fault."""
    is_theirs = isinstance(failure, InvalidArguments) or (isinstance(failure, Refused) and failure.status < 500)
    return (InvalidParams if is_theirs else FastMCPError)(str(failure), log_level=logging.INFO)


def _fields(document: Mapping[str, Any], within: str) -> str:
    errors = cast("list[dict[str, str]]", document.get("errors") or [])
    return _sentence(f"{_argument(item['pointer'], within)} {item['detail']}" for item in errors)


def _facts(document: Mapping[str, Any]) -> str:
    lists = {key: cast("list[Any]", value) for key, value in document.items() if isinstance(value, list)}
    told = {key.replace("_", " ").capitalize(): value for key, value in lists.items() if value and key not in _STANDARD}
    return " ".join(f"{name}: {_join(value)}." for name, value in told.items())


def _join(values: list[Any]) -> str:
    more = "" if len(values) <= _SHOWN else f" and {len(values) - _SHOWN} more"
    return ", ".join(str(value) for value in values[:_SHOWN]) + more


def _argument(pointer: str, within: str) -> str:
    """Return the argument that a pointer of the gateway means."""
    name = ".".join(part for part in pointer.lstrip("?@#").split("/") if part)
    return ".".join(filter(None, (within, name))) or "the arguments"


def _path(location: tuple[int | str, ...], nullable: Set[tuple[int | str, ...]] = frozenset()) -> str:
    parts = [part for place, part in enumerate(location) if location[:place] not in nullable]
    return ".".join(str(part) for part in parts) or "the arguments"


def _words(kind: str, message: str) -> str:
    plain = _TOO_LONG.sub(r"must not be longer than \1", _SHOULD.sub("must", message.removeprefix("Value error, ")))
    # After the comma a parser says where it stopped; a list of what is allowed has commas of its own.
    return _PLAIN_WORDS.get(kind) or (plain if kind in _LISTING else plain.partition(", ")[0])


def _sentence(parts: Iterable[str]) -> str:
    """Return the first few parts as one sentence."""
    everything = list(parts)
    more = "" if len(everything) <= _SHOWN else f"; and {len(everything) - _SHOWN} more"
    return _full_stop("; ".join(everything[:_SHOWN]) + more) if everything else ""


def _full_stop(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
