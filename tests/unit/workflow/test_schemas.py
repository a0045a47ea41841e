"""JSON Schema for parameters, safe on schemas and values of strangers."""

import pytest

from tmws_workflow.schemas import SchemaError, check_schema, check_value


def pointers(problems):
    return [problem.pointer for problem in problems]


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"type": "objekt"}, "/inputs/type"),
        ({"type": "array"}, "/inputs/type"),
        ({"properties": {"a": {"minimum": "1"}}}, "/inputs/properties/a/minimum"),
        ({"properties": {"a": {"pattern": "(?=x)"}}}, "/inputs/properties/a/pattern"),
        ({"properties": {"a/b": {"pattern": "("}}}, "/inputs/properties/a~1b/pattern"),
        ({"properties": {"a": {"$ref": "https://example.org/x"}}}, "/inputs/properties/a/$ref"),
        ({"properties": {"a": {"$ref": "#/$defs/missing"}}}, "/inputs/properties/a/$ref"),
        ({"allOf": [{"$dynamicRef": "#x"}]}, "/inputs/allOf/0/$dynamicRef"),
        ({"patternProperties": {"a": {}}}, "/inputs/patternProperties"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/inputs/$schema"),
        ({"required": "a"}, "/inputs/required"),
        ({"items": {"not": {"$id": "urn:x"}}}, "/inputs/items/not/$id"),
    ],
)
def test_bad_schema_is_refused_at_its_place(schema, pointer):
    assert pointers(check_schema(schema, "/inputs")) == [pointer]


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"pattern": {"type": "string"}, "$ref": {"type": "string"}}},
        {"properties": {"a": {"enum": ["(", {"$ref": "x"}]}}},
        {"$defs": {"t": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/t"}}},
        {"properties": {"a": {"type": "string", "pattern": "^[a-z]+$"}}, "additionalProperties": False},
    ],
)
def test_good_schema_has_no_problems(schema):
    assert check_schema(schema, "/inputs") == []


@pytest.mark.parametrize(
    ("schema", "value", "pointer", "detail"),
    [
        ({"required": ["a", "b"]}, {"a": 1}, "/parameters", "must have b"),
        ({"properties": {"a": {"type": "string"}}}, {"a": 1}, "/parameters/a", "must be string"),
        ({"properties": {"a": {"minimum": 3}}}, {"a": 1}, "/parameters/a", "must be at least 3"),
        ({"properties": {"a": {"enum": ["x"]}}}, {"a": "y"}, "/parameters/a", 'must be one of ["x"]'),
        (
            {"additionalProperties": False},
            {"a": 1},
            "/parameters",
            "must not have members that the schema does not name",
        ),
        ({"properties": {"a": {"items": {"type": "integer"}}}}, {"a": [1, "x"]}, "/parameters/a/1", "must be integer"),
        ({"properties": {"a": {"pattern": "^x"}}}, {"a": "y"}, "/parameters/a", "must match the pattern"),
        ({"properties": {"a": {"format": "date"}}}, {"a": "y"}, "/parameters/a", "must be a date"),
        (
            {"properties": {"a": {"uniqueItems": True}}},
            {"a": [1, 1.0]},
            "/parameters/a",
            "must not contain the same item twice",
        ),
        (
            {"$defs": {"t": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/t"}}},
            {"a": 1},
            "/parameters/a",
            "must be string",
        ),
    ],
)
def test_bad_value_is_refused_at_its_place(schema, value, pointer, detail):
    found = check_value(schema, value, "/parameters")
    assert [(problem.pointer, problem.detail) for problem in found] == [(pointer, detail)]


def test_rejected_value_is_not_repeated():
    schema = {"properties": {"a": {"type": "integer", "maxLength": 2, "pattern": "^x"}}}
    found = check_value(schema, {"a": "my secret"}, "/parameters")
    assert found
    assert not any("secret" in problem.detail for problem in found)


def test_recursive_schema_checks_nested_values():
    schema = {
        "$defs": {"tree": {"type": "object", "properties": {"left": {"$ref": "#/$defs/tree"}}}},
        "properties": {"a": {"$ref": "#/$defs/tree"}},
    }
    assert pointers(check_value(schema, {"a": {"left": {"left": 3}}}, "/p")) == ["/p/a/left/left"]


@pytest.mark.parametrize(
    "definitions",
    [
        {"a": {"$ref": "#/$defs/a"}},
        {
            f"{'abcdefghijklmnop'[n]}": {"allOf": [{"$ref": f"#/$defs/{'abcdefghijklmnop'[n + 1]}"}] * 2}
            for n in range(15)
        }
        | {"p": {}},
    ],
    ids=["endless", "doubling"],
)
def test_references_without_end_are_stopped(definitions):
    with pytest.raises(SchemaError):
        check_value({"$defs": definitions, "properties": {"x": {"$ref": "#/$defs/a"}}}, {"x": 1}, "/p")


def test_evil_pattern_ends_at_once():
    found = check_value({"properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 50_000 + "!"}, "/p")
    assert pointers(found) == ["/p/a"]


def test_many_different_items_are_compared_quickly():
    value = {"a": [[n] if n % 2 else str(n) for n in range(20_000)]}
    assert check_value({"properties": {"a": {"uniqueItems": True}}}, value, "/p") == []
