"""Errors a caller sees, as problem documents (RFC 9457).

ProblemError
├── InvalidRequest          422  one or more fields are wrong
├── MalformedRequest        400  the request cannot be read
├── Unauthenticated         401
├── Forbidden               403
├── NotFound                404
├── Conflict                409
├── PreconditionFailed      412  If-Match named another version
├── TooManyRequests         429  with Retry-After
└── Unavailable             503  with Retry-After; a part this one needs is down
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import orjson

from tmws_contracts.common import FieldProblem

MEDIA_TYPE = "application/problem+json"


def _slug(name: str) -> str:
    return "".join(f"-{char.lower()}" if char.isupper() else char for char in name).lstrip("-")


class ProblemError(Exception):
    """Something went wrong."""

    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Iterable[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(detail or self.title())
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.facts = facts

    @classmethod
    def of(cls, pointer: str, detail: str) -> Self:
        """Return the problem with one field."""
        return cls(f"{pointer}: {detail}", errors=[FieldProblem(pointer=pointer, detail=detail)])

    @classmethod
    def title(cls) -> str:
        """Return the problem's title: the first line of the docstring, without its full stop."""
        return (cls.__doc__ or "").partition("\n")[0].rstrip(".")

    @classmethod
    def type(cls) -> str:
        """Return the URI that names this kind of problem."""
        return f"urn:tmws:problem:{_slug(cls.__name__)}"

    def document(self, *, instance: str | None = None, trace_id: str | None = None) -> dict[str, Any]:
        """Return the problem document as a dict, without empty members."""
        document: dict[str, Any] = {
            "type": self.type(),
            "title": self.title(),
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "trace_id": trace_id,
            "retryable": self.retryable,
            "errors": [error.model_dump() for error in self.errors] or None,
            **self.facts,
        }
        return {key: value for key, value in document.items() if value is not None}

    def body(self, *, instance: str | None = None, trace_id: str | None = None) -> bytes:
        """Return the problem document as JSON."""
        return orjson.dumps(self.document(instance=instance, trace_id=trace_id))


class InvalidRequest(ProblemError):
    """The request has invalid fields."""

    status = 422


class MalformedRequest(ProblemError):
    """The request cannot be read."""

    status = 400


class Unauthenticated(ProblemError):
    """Credentials are missing or not valid."""

    status = 401

    def __init__(self, detail: str | None = None, **facts: Any) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"}, **facts)


class Forbidden(ProblemError):
    """The credentials do not allow this."""

    status = 403


class NotFound(ProblemError):
    """There is no such thing here."""

    status = 404


class MethodNotAllowed(ProblemError):
    """The method is not allowed here."""

    status = 405


class Conflict(ProblemError):
    """The request conflicts with the current state."""

    status = 409


class PreconditionFailed(ProblemError):
    """The resource has changed since it was read."""

    status = 412


class ContentTooLarge(ProblemError):
    """The body is too large."""

    status = 413


class UnsupportedMediaType(ProblemError):
    """The body must be application/json."""

    status = 415


class TooManyRequests(ProblemError):
    """Too many requests."""

    status = 429
    retryable = True

    def __init__(
        self,
        detail: str | None = None,
        *,
        retry_after_s: int = 1,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s), **(headers or {})})


class InternalError(ProblemError):
    """The server failed; the trace id finds it in the log."""

    status = 500


class Unavailable(ProblemError):
    """A part of the system is not available now."""

    status = 503
    retryable = True

    def __init__(self, detail: str | None = None, *, retry_after_s: int = 1, **facts: Any) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)}, **facts)
