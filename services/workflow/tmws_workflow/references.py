"""Whether what an expression reads is there: inputs that are named, and steps that come before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from tmws_workflow.expressions import EXECUTION_FIELDS, STEP_FIELDS, Expression
from tmws_workflow.templates import Template, escape, expressions_in


def expressions_by_pointer(template: Template, pointer: str) -> list[tuple[str, Expression]]:
    """Return every expression of a template with the JSON pointer of its string."""
    if isinstance(template, dict):
        members = cast("dict[str, Any]", template).items()
        return [found for name, item in members for found in expressions_by_pointer(item, f"{pointer}/{escape(name)}")]
    if isinstance(template, list):
        items = enumerate(cast("list[Any]", template))
        return [found for place, item in items for found in expressions_by_pointer(item, f"{pointer}/{place}")]
    return [(pointer, expression) for expression in expressions_in(template)]


def reference_problems(
    expression: Expression, upstream: frozenset[str], steps: Mapping[str, Any], inputs: Mapping[str, Any] | None
) -> list[str]:
    """Return what is wrong with what an expression reads, in a step that comes after `upstream`."""
    checks: dict[str, Callable[[str | None, str | None], str | None]] = {
        "steps": lambda name, field: _step_problem(name, field, upstream, steps),
        "inputs": lambda name, _: _input_problem(name, inputs),
        "execution": lambda name, _: None if name in EXECUTION_FIELDS else _one_of("execution", EXECUTION_FIELDS),
    }
    ordered = sorted(expression.references, key=lambda item: (item.root, item.name or "", item.field or ""))
    problems = [checks[item.root](item.name, item.field) for item in ordered]
    return [problem for problem in dict.fromkeys(problems) if problem is not None]


def _step_problem(
    name: str | None, field: str | None, upstream: frozenset[str], steps: Mapping[str, Any]
) -> str | None:
    if name is None:
        return "must name a step: steps.<id>.output"
    if name not in steps:
        return "refers to a step that does not exist"
    if name not in upstream:
        return f"refers to {name}, which does not come before this step; add it to needs"
    return None if field in STEP_FIELDS else _one_of(f"steps.{name}", STEP_FIELDS)


def _input_problem(name: str | None, inputs: Mapping[str, Any] | None) -> str | None:
    if name is None:
        return None
    known: Any = (inputs or {}).get("properties", {})
    is_open = inputs is not None and inputs.get("additionalProperties") not in (None, False)
    if is_open or not isinstance(known, dict) or name in known:
        return None
    return "refers to an input that inputs.properties does not name"


def _one_of(prefix: str, names: frozenset[str]) -> str:
    return "must be " + " or ".join(f"{prefix}.{name}" for name in sorted(names))
