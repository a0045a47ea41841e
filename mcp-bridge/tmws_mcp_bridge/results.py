"""How the gateway's answers are shown to agents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

JsonObject = dict[str, Any]
JsonSchema = dict[str, Any]

_TYPES: dict[str, JsonSchema] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "dict": {"type": "object"},
    "list": {"type": "array"},
}


def without_blanks(document: Mapping[str, Any], leave_out: Iterable[str] = ()) -> JsonObject:
    """Return the fields that say something: null, empty text, lists and objects cost an agent tokens."""
    hidden = frozenset(leave_out)
    return {key: value for key, value in document.items() if key not in hidden and value not in (None, "", [], {})}


def object_schema(fields: Mapping[str, JsonSchema | str], required: Sequence[str] = ()) -> JsonSchema:
    """Return the JSON schema of an object; a field's type is a schema, or the name of a Python type."""
    properties = {name: _TYPES[kind] if isinstance(kind, str) else kind for name, kind in fields.items()}
    schema = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def list_schema(item: JsonSchema) -> JsonSchema:
    """Return the JSON schema of a list of `item`."""
    return {"type": "array", "items": item}


def only_given(**fields: Any) -> JsonObject:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
