"""Expressions: what compiles, what it reads, what it gives."""

import pytest

from tmws_workflow.expressions import (
    MAX_CHARS,
    ExpressionError,
    Reference,
    check_size,
    compile_expression,
    evaluate,
    is_condition,
)

DATA = {
    "inputs": {"n": 4, "s": "x", "f": 1.5, "none": None, "list": [1, 2, 3], "deep": {"a b": [True]}},
    "steps": {"a": {"status": "completed", "output": {"text": "hi"}}, "b": {"status": "skipped"}},
    "execution": {"id": "e1"},
}


def value_of(text):
    return evaluate(compile_expression(text), DATA)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("inputs.n + 1", 5),
        ("inputs.f", 1.5),
        ("inputs.none", None),
        ("inputs.list.map(x, x * 2)", [2, 4, 6]),
        ('inputs.deep["a b"][0]', True),
        ("steps.a.output.text + '!'", "hi!"),
        ("has(steps.b.output)", False),
        ("steps.b.status == 'skipped'", True),
        ("execution.id", "e1"),
        ("inputs.n > 3 ? 'many' : 'few'", "many"),
        ("{'a': [inputs.n]}", {"a": [4]}),
        ("inputs.s.matches('^[a-z]$')", True),
        ('timestamp("2026-01-02T03:04:05Z")', "2026-01-02T03:04:05Z"),
        ('duration("90s")', "90s"),
        ('duration("1.5s")', "1.5s"),
        ('b"abc"', "YWJj"),
    ],
)
def test_expression_gives_json(text, value):
    assert value_of(text) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("inputs.absent", "Key not found"),
        ("steps.b.output", "Key not found"),
        ("inputs.n + 's'", "No matching overloads"),
        ("1 / (inputs.n - 4)", "divide by zero"),
        ("9223372036854775807 + inputs.n", "overflow"),
        ("inputs.f / 0.0", "NaN or infinite"),
        ("{1: 2}", "keys are not all strings"),
        ("type(1)", "is a type"),
        ('"a\\u0000b"', "U+0000"),
        ("inputs.list[7]", "index"),
    ],
)
def test_expression_without_a_value_says_why(text, reason):
    with pytest.raises(ExpressionError, match=reason.replace("+", r"\+")):
        value_of(text)


@pytest.mark.parametrize(
    "text", ["1 +", "nope.x", "inputs.", "", "'open", "inputs.n === 1", "(" * 200 + "1" + ")" * 200]
)
def test_invalid_expression_does_not_compile(text):
    with pytest.raises(ExpressionError):
        compile_expression(text)


def test_compile_error_names_the_character():
    with pytest.raises(ExpressionError, match="character 4: Syntax error"):
        compile_expression("1 +")


def test_long_expression_does_not_compile():
    with pytest.raises(ExpressionError, match="must not be longer"):
        compile_expression("1" * (MAX_CHARS + 1))


@pytest.mark.parametrize(
    ("text", "references"),
    [
        ("inputs.topic", {("inputs", "topic", None)}),
        ("steps.a.output.text", {("steps", "a", "output")}),
        ('steps["a"].status', {("steps", "a", "status")}),
        ("steps.a", {("steps", "a", None)}),
        ("inputs", {("inputs", None, None)}),
        ("'steps.a.output'", set()),
        ("inputs.steps.a", {("inputs", "steps", "a")}),
        ("[1].map(i, inputs.x + steps.b.output)", {("inputs", "x", None), ("steps", "b", "output")}),
        ("inputs.a // steps.b.output", {("inputs", "a", None)}),
    ],
)
def test_references_are_found(text, references):
    assert compile_expression(text).references == {Reference(*item) for item in references}


@pytest.mark.parametrize(("text", "may_be"), [("true", True), ("inputs.flag", True), ("1 + 1", False), ("'a'", False)])
def test_condition_may_be_true_or_false(text, may_be):
    assert is_condition(compile_expression(text)) is may_be


def test_path_is_light_however_large_the_data():
    assert compile_expression("steps.a.output.text").is_light(1024 * 1024)


@pytest.mark.parametrize("text", ["inputs.list.map(x, x)", "inputs.list.all(x, inputs.list.all(y, true))"])
def test_macro_is_never_light(text):
    assert not compile_expression(text).is_light(10)


def test_concatenation_of_large_data_is_not_light():
    assert not compile_expression("inputs.s + inputs.s + inputs.s + inputs.s").is_light(1024 * 1024)


def test_value_above_the_limit_is_refused():
    with pytest.raises(ExpressionError, match="larger than 1024 KiB"):
        check_size("x" * 1024 * 1024)
