"""Records of several programs to memories (pure). Each is checked as strictly as a request's body.

Shapes: our own export; `memory.jsonl` of the MCP project's server-memory (also what its `read_graph` returns);
mcp-memory-service's JSON export and lists of its memories; what mem0's `get_all` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, cast

import orjson
from pydantic import TypeAdapter, ValidationError

from tmws_contracts.common import FieldProblem
from tmws_contracts.memory_bulk import EXPORT_FORMAT, ExportHeader, ExportTrailer, ImportFormat, MemoryRecord
from tmws_memory.bulk.splitting import MAX_RECORD_BYTES, Record
from tmws_shared.problems import ProblemError
from tmws_shared.strict_json import read_json

_RECORDS: Final = TypeAdapter(MemoryRecord)
_WHAT: Final = {
    ImportFormat.TMWS: "a line of an export: an object with `content`",
    ImportFormat.SERVER_MEMORY: "an entity or a relation of server-memory",
    ImportFormat.MCP_MEMORY_SERVICE: "a memory of mcp-memory-service: an object with `content`",
    ImportFormat.MEM0: "a memory of mem0: an object with `memory`",
    ImportFormat.AUTO: "a memory: an object with `content` or `memory`, or an entity or relation of server-memory",
}
# What a memory of mcp-memory-service has, and none of ours.
_MARKS: Final = frozenset({"content_hash", "memory_type", "created_at_iso", "updated_at_iso", "timestamp_str"})
# A relation of server-memory, or of mem0's graph.
_RELATION_ENDS: Final = frozenset({"from", "source"})
_MEM0_DETAILS: Final = ("user_id", "agent_id", "app_id", "actor_id", "role")

Fields: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Faulty:
    """A memory that cannot be imported, and why."""

    line: int
    errors: list[FieldProblem]


@dataclass(frozen=True, slots=True)
class Good:
    """A memory to import."""

    line: int
    place: str
    memory: MemoryRecord


@dataclass(frozen=True, slots=True)
class End:
    """The last line of our own export, which says how many memories there must have been."""

    count: int


Found: TypeAlias = Good | Faulty | End


class _Wrong(Exception):
    """A record has something wrong in one place."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = FieldProblem(pointer=pointer, detail=detail)


def read_record(record: Record, wanted: ImportFormat) -> Iterator[Found]:
    """Yield the memories of a record, the good ones and the faulty ones; none for the header of an export."""
    try:
        fields = _read(record)
        for pointers, draft in _drafts(fields, _format_of(fields, record.name, wanted)):
            yield _check(record, draft, pointers)
    except _Wrong as wrong:
        yield Faulty(record.line, [_within(record.place, wrong.problem)])


def _read(record: Record) -> Fields:
    if record.raw is None:
        raise _Wrong("", f"must not be longer than {MAX_RECORD_BYTES} bytes")
    try:
        value = read_json(record.raw)
    except ProblemError as error:
        problem = error.errors[0]
        raise _Wrong(problem.pointer, problem.detail.replace("(line 1, ", "(")) from None
    if not isinstance(value, dict):
        raise _Wrong("", "must be an object")
    return cast("Fields", value)


def _format_of(fields: Fields, name: str, wanted: ImportFormat) -> ImportFormat:
    """Which program's record it is.

    Raises:
        _Wrong: none that is known, or another one than wanted.
    """
    found = _recognise(fields, name)
    if found is ImportFormat.AUTO or wanted not in (ImportFormat.AUTO, found):
        # A memory of mcp-memory-service may look like one of ours.
        if wanted is ImportFormat.MCP_MEMORY_SERVICE and found is ImportFormat.TMWS and "content" in fields:
            return wanted
        raise _Wrong("", f"must be {_WHAT[wanted]}")
    return found


def _recognise(fields: Fields, name: str) -> ImportFormat:
    if fields.get("type") in ("entity", "relation") or name in ("entities", "relations"):
        return ImportFormat.SERVER_MEMORY
    if "content" in fields:
        is_marked = name == "memories" or not _MARKS.isdisjoint(fields) or _is_number(fields.get("created_at"))
        return ImportFormat.MCP_MEMORY_SERVICE if is_marked else ImportFormat.TMWS
    if "memory" in fields:
        return ImportFormat.MEM0
    if EXPORT_FORMAT in (fields.get("format"), fields.get("end")):
        return ImportFormat.TMWS
    return ImportFormat.AUTO


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# What is drafted of a record, with the names that the fields have there.
_Draft: TypeAlias = "tuple[Mapping[str, str], Fields]"


def _drafts(fields: Fields, kind: ImportFormat) -> Iterator[_Draft]:
    readers: dict[ImportFormat, Callable[[Fields], Iterator[_Draft]]] = {
        ImportFormat.TMWS: _own,
        ImportFormat.SERVER_MEMORY: _of_graph,
        ImportFormat.MCP_MEMORY_SERVICE: _of_memory_service,
        ImportFormat.MEM0: _of_mem0,
    }
    return readers[kind](fields)


def _own(fields: Fields) -> Iterator[_Draft]:
    if "content" in fields or EXPORT_FORMAT not in (fields.get("format"), fields.get("end")):
        yield {}, fields
    elif "end" in fields:
        yield {}, {"end": ExportTrailer.model_validate(fields).count} if _fits(ExportTrailer, fields) else {}
    elif not _fits(ExportHeader, fields):
        raise _Wrong("/version", "must be 1, with the other fields of the header of an export")


def _fits(model: type[ExportHeader | ExportTrailer], fields: Fields) -> bool:
    try:
        model.model_validate(fields)
    except ValidationError:
        return False
    return True


def _of_graph(fields: Fields) -> Iterator[_Draft]:
    """An observation alone says little: its entity's name is put before it, unless it is in it."""
    if fields.get("type") == "relation" or not _RELATION_ENDS.isdisjoint(fields):
        begin, relation = _text(fields, "from", "source"), _text(fields, "relationType", "relationship")
        end = _text(fields, "to", "target", "destination")
        details = {"title": begin, "from": begin, "relation": relation, "to": end}
        yield {}, {"content": f"{begin} {relation} {end}", "metadata": details}
        return
    name, kind = _text(fields, "name"), _text(fields, "entityType")
    observations = fields.get("observations", [])
    if not isinstance(observations, list):
        raise _Wrong("/observations", "must be a list of texts")
    details = {"title": name, "entity": name, "entity_type": kind}
    if not observations:
        yield {}, {"content": f"{name} ({kind})", "metadata": details}
    for index, said in enumerate(cast("list[Any]", observations)):
        pointer = f"/observations/{index}"
        text = said if not isinstance(said, str) or name.casefold() in said.casefold() else f"{name}: {said}"
        content = said if isinstance(said, str) and not said.strip() else text
        yield {"/content": pointer}, {"content": content, "metadata": details}


def _text(fields: Fields, *names: str) -> str:
    """The member that goes by the first of these names that is there."""
    name = next((name for name in names if name in fields), names[0])
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise _Wrong(f"/{name}", "must be a text that is not blank")
    return value


def _of_memory_service(fields: Fields) -> Iterator[_Draft]:
    details = _object(fields, "metadata")
    if fields.get("memory_type"):
        details = {"memory_type": fields["memory_type"], **details}
    yield {}, _without_nothing({
        "content": fields["content"],
        "metadata": details,
        "tags": _tags(fields, "tags"),
        "created_at": _time(fields, "created_at", "created_at_iso", "timestamp_float", "timestamp_str"),
    })  # fmt: skip


def _of_mem0(fields: Fields) -> Iterator[_Draft]:
    about = {name: fields[name] for name in _MEM0_DETAILS if fields.get(name)}
    yield {"/content": "/memory", "/session_id": "/run_id", "/tags": "/categories"}, _without_nothing({
        "content": fields["memory"],
        "metadata": {**about, **_object(fields, "metadata")},
        "session_id": fields.get("run_id"),
        "tags": _tags(fields, "categories"),
        "created_at": _time(fields, "created_at"),
    })  # fmt: skip


def _without_nothing(draft: Fields) -> Fields:
    return {name: value for name, value in draft.items() if value is not None}


def _object(fields: Fields, name: str) -> Fields:
    """A member that is an object, written as such or as JSON in a text; empty when there is none."""
    value: Any = fields.get(name) or {}
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            value = None
    if not isinstance(value, dict):
        raise _Wrong(f"/{name}", "must be an object")
    return cast("Fields", value)


def _tags(fields: Fields, name: str) -> Any:
    value = fields.get(name)
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list):
        return value
    items = [tag.strip() if isinstance(tag, str) else tag for tag in cast("list[Any]", value)]
    return [tag for tag in items if tag != ""]


def _time(fields: Fields, *names: str) -> datetime | None:
    """The first of the times that is there: seconds since 1970, or ISO 8601 (UTC unless it says otherwise)."""
    for name in names:
        value = fields.get(name)
        if value is None or value == "":
            continue
        try:
            moment = datetime.fromtimestamp(value, UTC) if _is_number(value) else datetime.fromisoformat(value)
        except (ValueError, TypeError, OverflowError, OSError):
            raise _Wrong(f"/{name}", "must be a time: seconds since 1970, or ISO 8601") from None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


def _check(record: Record, draft: Fields, pointers: Mapping[str, str]) -> Found:
    if "end" in draft:
        return End(draft["end"])
    try:
        return Good(record.line, record.place, _RECORDS.validate_python(draft))
    except ValidationError as error:
        problems = [_pointed(dict(item), pointers) for item in error.errors(include_url=False, include_input=False)]
        return Faulty(record.line, [_within(record.place, problem) for problem in problems])


def _pointed(error: dict[str, Any], pointers: Mapping[str, str]) -> FieldProblem:
    # Only a process that serves HTTP has imported this already; it takes a while.
    from tmws_shared.app import explain

    problem = explain({**error, "loc": ("body", *error["loc"])})
    for ours, theirs in pointers.items():
        if problem.pointer == ours or problem.pointer.startswith(f"{ours}/"):
            return FieldProblem(pointer=theirs + problem.pointer.removeprefix(ours), detail=problem.detail)
    return problem


def _within(place: str, problem: FieldProblem) -> FieldProblem:
    return problem if not place else FieldProblem(pointer=place + problem.pointer, detail=problem.detail)
