"""Values with expressions in them."""

import pytest

from tmws_workflow.expressions import evaluate
from tmws_workflow.templates import expressions_in, fill, parse_template

DATA = {"inputs": {"n": 4, "s": "x", "none": None, "list": [1], "yes": True}, "steps": {}, "execution": {}}


def refuse(pointer, detail):
    raise AssertionError(f"{pointer}: {detail}")


def filled(value):
    template = parse_template(value, "/with", refuse)
    return fill(template, {item.text: evaluate(item, DATA) for item in expressions_in(template)})


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("${{ inputs.n }}", 4),
        ("${{inputs.list}}", [1]),
        ("n=${{ inputs.n }}", "n=4"),
        ("${{ inputs.s }}${{ inputs.n }}", "x4"),
        (" ${{ inputs.n }}", " 4"),
        ("<${{ inputs.none }}>", "<>"),
        ("${{ inputs.yes }}!", "true!"),
        ("list ${{ inputs.list }}", "list [1]"),
        ("${{ {'a': {'b': 1}} }}", {"a": {"b": 1}}),
        ("${{ '}}' }} and ${{ '${{' }}", "}} and ${{"),
        ({"a": ["${{ inputs.n }}", 7], "b": {"c": "plain"}}, {"a": [4, 7], "b": {"c": "plain"}}),
        ("price: $5 {{ }}", "price: $5 {{ }}"),
        (None, None),
        (12, 12),
    ],
)
def test_template_is_filled(value, result):
    assert filled(value) == result


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ({"a": "${{ inputs.n"}, "/with/a"),
        ({"a": {"b/c": ["x", "${{ 1 + }}"]}}, "/with/a/b~1c/1"),
        ({"a": "${{ }}"}, "/with/a"),
        ({"a": "${{ 1 } }"}, "/with/a"),
    ],
)
def test_bad_expression_is_reported_at_its_string(value, pointer):
    problems = []
    parse_template(value, "/with", lambda where, detail: problems.append((where, detail)))
    assert [where for where, _ in problems] == [pointer]
