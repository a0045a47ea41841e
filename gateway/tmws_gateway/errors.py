"""What can be wrong at the edge.

ProblemError
├── MisdirectedRequest      421  the Host is not one of ours
├── UriTooLong              414
├── HeadersTooLarge         431
├── RequestTimeout          408  the body did not arrive in time
├── TooManyConnections      503  this address has too many open
├── UpstreamTimeout         504  a service did not answer in time
├── Forbidden ─── ForbiddenOrigin, MissingGrant, NeedsApiKey, NotYourToken
├── NotFound ─── KeyNotFound
└── Conflict ─── KeyNameTaken, KeyNotUsable
"""

from __future__ import annotations

from tmws_contracts.common import FieldProblem
from tmws_shared.problems import Conflict, Forbidden, NotFound, ProblemError


class MisdirectedRequest(ProblemError):
    """The Host header does not name this gateway."""

    status = 421


class UriTooLong(ProblemError):
    """The URL is too long."""

    status = 414


class HeadersTooLarge(ProblemError):
    """The request has too many headers, or too large ones."""

    status = 431


class RequestTimeout(ProblemError):
    """The body did not arrive in time."""

    status = 408
    retryable = True


class TooManyConnections(ProblemError):
    """Too many connections are open."""

    status = 503
    retryable = True


class UpstreamTimeout(ProblemError):
    """The service did not answer in time; what was asked may still happen."""

    status = 504
    retryable = True

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": "1"})


class ForbiddenOrigin(Forbidden):
    """Web pages of this origin may not call the API."""


class MissingGrant(Forbidden):
    """Nobody can pass on rights they do not have."""

    def __init__(self, pointer: str, missing: list[str]) -> None:
        detail = "must be scopes that the caller has"
        super().__init__(
            f"{pointer}: {detail}", errors=[FieldProblem(pointer=pointer, detail=detail)], missing_scopes=missing
        )


class NeedsApiKey(Forbidden):
    """Access tokens are made from an API key."""


class NotYourToken(Forbidden):
    """This token is not yours to revoke."""


class KeyNotFound(NotFound):
    """There is no such API key."""


class KeyNameTaken(Conflict):
    """Another API key of the namespace has this name."""

    def __init__(self) -> None:
        detail = "must differ from the names of the namespace's other keys"
        super().__init__(f"/name: {detail}", errors=[FieldProblem(pointer="/name", detail=detail)])


class KeyNotUsable(Conflict):
    """The API key is revoked or expired."""
