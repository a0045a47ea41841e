"""JSON answers: dumped once, with an ETag where the thing has a version."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Query, Response
from pydantic import BaseModel

from tmws_shared.idempotency import Reply
from tmws_shared.problems import PreconditionFailed


def dump(model: BaseModel) -> bytes:
    """Return a model as JSON."""
    return model.__pydantic_serializer__.to_json(model)


def reply(model: BaseModel, status: int = 200, *, location: str | None = None) -> Reply:
    """Return a model as a reply; one that has a `version` gets it as its ETag."""
    headers: dict[str, str] = {}
    version = getattr(model, "version", None)
    if version is not None:
        headers["ETag"] = etag(version)
    if location:
        headers["Location"] = location
    return Reply(status, dump(model), headers)


def send(answer: Reply) -> Response:
    """Return a reply as an HTTP response."""
    media_type = "application/json" if answer.body else None
    return Response(answer.body, answer.status, headers=answer.headers, media_type=media_type)


def send_model(model: BaseModel, status: int = 200) -> Response:
    """Return a model as an HTTP response."""
    return send(reply(model, status))


def etag(version: int) -> str:
    """Return the entity tag of a version (RFC 9110, section 8.8.3)."""
    return f'"{version}"'


def match_version(if_match: str | None, version: int) -> None:
    """Return when `version` is one that the caller's If-Match names, or there is none.

    Raises:
        PreconditionFailed: the thing has another version now.
    """
    if if_match is None or if_match.strip() == "*":
        return
    if etag(version) not in [tag.strip() for tag in if_match.split(",")]:
        raise PreconditionFailed("Read it again: it has another ETag now.")


async def _if_match(
    if_match: Annotated[str | None, Header(max_length=1024, description="act only on this ETag")] = None,
) -> str | None:
    return if_match


Cursor = Annotated[str | None, Query(max_length=1024, description="`next_cursor` of the page before")]
IfMatch = Annotated[str | None, Depends(_if_match)]
