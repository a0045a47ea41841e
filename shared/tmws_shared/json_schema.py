"""JSON Schema (Draft 2020-12) that is safe on schemas and values of strangers.

No reference leaves the schema; patterns run on RE2; the number of followed references is bounded.
"""

# jsonschema has no type stubs; this is its border file.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownParameterType=false, reportMissingTypeStubs=false
from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson
from cel_expr_python import cel
from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema.validators import extend

from tmws_contracts.common import FieldProblem

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_PROBLEMS = 50
MAX_REFERENCES = 5_000
# Values under these are data or maps of schemas; everything else that is an object is a schema or a list of them.
_DATA = frozenset({"const", "enum", "default", "examples", "required", "dependentRequired"})
_MAPS = frozenset({"properties", "$defs", "dependentSchemas"})
_REFUSED = {
    "$id": "must not be used: the schema stands alone",
    "$anchor": "must not be used; refer with #/$defs/<name>",
    "$dynamicRef": "must not be used; refer with #/$defs/<name>",
    "$dynamicAnchor": "must not be used; refer with #/$defs/<name>",
    "$recursiveRef": "must not be used; refer with #/$defs/<name>",
    "patternProperties": "must not be used",
}
_LOCAL = re.compile(r"#/\$defs/([^/~%]+)")
_MATCHES = cel.NewEnv(variables={"text": cel.Type.STRING, "pattern": cel.Type.STRING}).compile("text.matches(pattern)")


class SchemaError(Exception):
    """A value could not be checked: the schema asks for too much work."""


def _matches(pattern: str, text: str) -> bool:
    return _MATCHES.eval(data={"text": text, "pattern": pattern}).plain_value() is True


def _is_pattern(pattern: str) -> bool:
    try:
        return _MATCHES.eval(data={"text": "", "pattern": pattern}).type() == cel.Type.BOOL
    except RuntimeError:
        return False


def _check_pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError("must match the pattern")


def _check_unique(validator: Any, wanted: bool, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """The library compares every pair when items cannot be sorted; their JSON tells them apart in one pass."""
    if not wanted or not isinstance(instance, list):
        return
    seen = {orjson.dumps(_canonical(item), option=orjson.OPT_SORT_KEYS) for item in instance}
    if len(seen) < len(instance):
        yield ValidationError("must not contain the same item twice")


def _canonical(value: Any) -> Any:
    """JSON Schema holds 1.0 and 1 for the same number."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    return value


def check_schema(schema: Any, pointer: str) -> list[FieldProblem]:
    """Return what is wrong with a schema of ours."""
    problems = [
        FieldProblem(pointer=pointer + _pointer(error.absolute_path), detail=_explain(error))
        for error in list(Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(schema))[:MAX_PROBLEMS]
    ]
    if problems or not isinstance(schema, dict):
        return problems
    if schema.get("type", "object") != "object":
        problems.append(FieldProblem(pointer=f"{pointer}/type", detail="must be object"))
    names = frozenset(schema.get("$defs", {}))
    return problems + [FieldProblem(pointer=where, detail=what) for where, what in _walk(schema, pointer, names)]


def _walk(schema: Any, pointer: str, names: frozenset[str]) -> Iterator[tuple[str, str]]:
    if isinstance(schema, list):
        for place, item in enumerate(schema):
            yield from _walk(item, f"{pointer}/{place}", names)
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        here = f"{pointer}/{_escape(keyword)}"
        if problem := _keyword_problem(keyword, value, names):
            yield here, problem
        elif keyword in _MAPS:
            for name, item in value.items():
                yield from _walk(item, f"{here}/{_escape(name)}", names)
        elif keyword not in _DATA:
            yield from _walk(value, here, names)


def _keyword_problem(keyword: str, value: Any, names: frozenset[str]) -> str | None:
    if keyword == "$schema" and value != DIALECT:
        return f"must be {DIALECT}"
    if keyword == "$ref":
        found = _LOCAL.fullmatch(value)
        return None if found and found[1] in names else "must be #/$defs/<name> of a definition in this schema"
    if keyword == "pattern" and not _is_pattern(value):
        return "must be a regular expression that RE2 knows"
    return _REFUSED.get(keyword)


def check_value(schema: Any, value: Any, pointer: str) -> list[FieldProblem]:
    """Return what is wrong with a value; the rejected value is never repeated.

    Raises:
        SchemaError: the schema follows references without end.
    """
    followed = 0

    def follow(validator: Any, target: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
        nonlocal followed
        followed += 1
        if followed > MAX_REFERENCES:
            raise SchemaError
        yield from validator._validate_reference(ref=target, instance=instance)

    kind = extend(Draft202012Validator, {"pattern": _check_pattern, "uniqueItems": _check_unique, "$ref": follow})
    problems: list[FieldProblem] = []
    try:
        for error in kind(schema, format_checker=FormatChecker(("date", "date-time", "uuid"))).iter_errors(value):
            problems.append(FieldProblem(pointer=pointer + _pointer(error.absolute_path), detail=_explain(error)))
            if len(problems) == MAX_PROBLEMS:
                break
    except RecursionError as error:
        raise SchemaError from error
    return problems


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _pointer(path: Any) -> str:
    return "".join(f"/{_escape(str(part))}" for part in path)


_OWN_MESSAGES = frozenset({"pattern", "uniqueItems"})
_BOUNDS = {
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be more than {}",
    "exclusiveMaximum": "must be less than {}",
    "multipleOf": "must be a multiple of {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} items",
    "maxItems": "must have at most {} items",
    "minProperties": "must have at least {} members",
    "maxProperties": "must have at most {} members",
    "format": "must be a {}",
}


def _explain(error: ValidationError) -> str:
    """The library's messages repeat the value; ours name what was expected."""
    wanted: Any = error.validator_value
    keyword = str(error.validator)
    if keyword in _BOUNDS:
        return _BOUNDS[keyword].format(wanted)
    match keyword:
        case "type":
            return "must be " + (" or ".join(wanted) if isinstance(wanted, list) else str(wanted))
        case "required":
            present: Any = error.instance
            return "must have " + ", ".join(name for name in wanted if name not in present)
        case "enum" | "const":
            return ("must be one of " if keyword == "enum" else "must be ") + orjson.dumps(wanted).decode()
        case "additionalProperties" | "unevaluatedProperties":
            return "must not have members that the schema does not name"
        case _:
            return error.message if keyword in _OWN_MESSAGES else f"must satisfy {keyword}"
