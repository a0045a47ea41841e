"""Types and models that every wire model is made of."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Generic, TypeVar, cast

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

METADATA_MAX_BYTES = 64 * 1024
METADATA_MAX_KEYS = 256
METADATA_MAX_DEPTH = 8
JSON_MAX_DEPTH = 32
MAX_PAGE = 200
SLUG_MAX_CHARS = 100

_SLUG = r"[a-z0-9][a-z0-9._-]*"

JsonObject = dict[str, Any]
Item = TypeVar("Item")


class Wire(BaseModel):
    """A JSON object on the wire: unknown fields are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_enum_values=False)


def _forget_defaults(schema: dict[str, Any]) -> None:
    for field in schema.get("properties", {}).values():
        field.pop("default", None)


class WireChange(Wire):
    """A change: the fields given are set, the others stay, so that its defaults mean nothing to callers."""

    model_config = ConfigDict(json_schema_extra=_forget_defaults)


class Priority(StrEnum):
    """How urgent a piece of work is; the same words for tasks and workflows."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    URGENT = "urgent"


def refuse_nul(text: str) -> str:
    """Return `text`; PostgreSQL cannot store U+0000 in any text.

    Raises:
        ValueError: the text holds U+0000.
    """
    if "\x00" in text:
        raise ValueError("must not contain U+0000")
    return text


def refuse_blank(text: str) -> str:
    """Return `text`, which must hold something other than white space.

    Raises:
        ValueError: the text is blank.
    """
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def _json_size(value: object, depth: int, max_depth: int) -> tuple[int, int]:
    """Bytes (a lower bound of the UTF-8 JSON) and keys of a JSON value; raises on what cannot be kept."""
    if depth > max_depth:
        raise ValueError(f"must not be nested deeper than {max_depth} levels")
    if isinstance(value, str):
        return len(_storable(value).encode()) + 2, 0
    if isinstance(value, dict):
        return _container_size(cast("dict[str, Any]", value).items(), depth, max_depth, keyed=True)
    if isinstance(value, list):
        return _container_size((("", item) for item in cast("list[Any]", value)), depth, max_depth, keyed=False)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must not contain NaN or Infinity")
    return len(str(value)) if not isinstance(value, int) else _int_size(value), 0


def _int_size(value: int) -> int:
    # Larger integers cannot be represented by most JSON readers (RFC 8259, section 6).
    if abs(value) >= 2**63:
        raise ValueError("must not contain integers outside 64 bits")
    return len(str(value))


def _container_size(items: Iterable[tuple[str, Any]], depth: int, max_depth: int, *, keyed: bool) -> tuple[int, int]:
    size, keys = 2, 0
    for key, value in items:
        item_size, item_keys = _json_size(value, depth + 1, max_depth)
        size += item_size + 1 + (len(_storable(key).encode()) + 3 if keyed else 0)
        keys += item_keys + (1 if keyed else 0)
    return size, keys


def _storable(text: str) -> str:
    refuse_nul(text)
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("must not contain a lone surrogate")
    return text


def check_metadata(value: JsonObject) -> JsonObject:
    """Return `value` when it is within the limits of metadata (64 KiB, 256 keys, depth 8).

    Raises:
        ValueError: a limit is exceeded, or the value cannot be stored as JSON.
    """
    size, keys = _json_size(value, 0, METADATA_MAX_DEPTH)
    if keys > METADATA_MAX_KEYS:
        raise ValueError(f"must not have more than {METADATA_MAX_KEYS} keys")
    if size > METADATA_MAX_BYTES:
        raise ValueError(f"must not be larger than {METADATA_MAX_BYTES} bytes")
    return value


def check_document(value: JsonObject) -> JsonObject:
    """Return `value` when it can be stored as JSON (depth 32, no U+0000, NaN or lone surrogate).

    Raises:
        ValueError: it cannot.
    """
    _json_size(value, 0, JSON_MAX_DEPTH)
    return value


# The database driver takes the first and the last moment for -infinity and infinity.
_ENDS_OF_TIME = frozenset({datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)})


def _to_utc(moment: datetime) -> datetime:
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:
        utc = None
    if utc is None or utc in _ENDS_OF_TIME:
        raise ValueError("must be a time between the years 1 and 9999 in UTC")
    return utc


def is_slug(text: str) -> bool:
    """Return whether a text is a `Slug`."""
    return len(text) <= SLUG_MAX_CHARS and re.fullmatch(_SLUG, text, re.ASCII) is not None


Text = Annotated[str, AfterValidator(refuse_nul)]
Line = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255),
    AfterValidator(refuse_nul),
    AfterValidator(refuse_blank),
]
Label = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100),
    AfterValidator(refuse_nul),
    AfterValidator(refuse_blank),
]
Slug = Annotated[str, StringConstraints(min_length=1, max_length=SLUG_MAX_CHARS, pattern=f"^{_SLUG}$")]
Metadata = Annotated[JsonObject, AfterValidator(check_metadata)]
Document = Annotated[JsonObject, AfterValidator(check_document)]
UtcTime = Annotated[AwareDatetime, AfterValidator(_to_utc)]
Limit = Annotated[int, Field(ge=1, le=MAX_PAGE)]


class Page(Wire, Generic[Item]):
    """One page of a list; `next_cursor` is null on the last one."""

    items: list[Item]
    next_cursor: str | None = None


class FieldProblem(Wire):
    """What is wrong with one field."""

    pointer: str = Field(
        description="JSON pointer (RFC 6901) into the body; `?name` a query, `@name` a header, `#name` a path parameter"
    )
    detail: str = Field(description="what was expected")


class Problem(Wire):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str
    title: str
    status: int
    detail: str | None = None
    instance: str | None = None
    trace_id: str | None = None
    retryable: bool = False
    errors: list[FieldProblem] | None = None
