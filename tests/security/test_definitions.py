"""Rows 64, 72 and 73 of the table: what a definition may ask of whoever runs it."""

import pytest

from tmws_workflow.expressions import ExpressionError, compile_expression, evaluate
from tmws_workflow.sandbox import Sandbox

DATA = {"inputs": {"s": "a" * 20_000 + "!", "list": list(range(1_000))}, "steps": {}, "execution": {"id": "e1"}}


@pytest.mark.parametrize(
    "text",
    [
        "inputs.__class__",
        "inputs.s.__class__.__mro__",
        "inputs['__class__']['__init__']['__globals__']",
        "execution.__dict__",
        "inputs.s.format(inputs)",
        "inputs.s.upper()",
        "__import__('os').system('id')",
        "open('/etc/passwd')",
        "getattr(inputs, 's')",
        "lambda: 1",
        "env('TMWS_SECRET_KEY')",
        "self",
    ],
)
def test_expression_reaches_nothing_but_its_data(text: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(compile_expression(text), DATA)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "^(a|aa)*$", "(.*a){25}$", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_pattern_that_others_need_years_for_is_answered(pattern: str) -> None:
    assert evaluate(compile_expression(f"inputs.s.matches('{pattern}')"), DATA) is False


@pytest.mark.parametrize(
    "text",
    [
        "inputs.list.map(a, inputs.list.map(b, inputs.list.map(c, a * b * c)))",
        "inputs.list.all(a, inputs.list.all(b, inputs.list.all(c, a + b + c >= 0)))",
    ],
    ids=["values", "steps"],
)
async def test_expression_of_a_thousand_million_steps_is_stopped(text: str) -> None:
    sandbox = Sandbox()
    try:
        with pytest.raises(ExpressionError, match="Iteration budget exceeded"):
            await sandbox.evaluate(compile_expression(text), DATA)
        assert await sandbox.evaluate(compile_expression("size(inputs.list)"), DATA) == 1_000
    finally:
        await sandbox.close()
