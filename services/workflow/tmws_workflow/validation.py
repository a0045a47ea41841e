"""Whether a definition can run: every problem at once, each with its JSON pointer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import orjson

from tmws_contracts.common import FieldProblem
from tmws_contracts.workflow import WorkflowType
from tmws_workflow import graph
from tmws_workflow.definition import Plan, PlannedStep
from tmws_workflow.durations import parse_duration
from tmws_workflow.engine import OUTPUT_STEP
from tmws_workflow.expressions import Expression, ExpressionError, compile_expression, is_condition
from tmws_workflow.references import expressions_by_pointer, reference_problems
from tmws_workflow.retries import RetryPolicy
from tmws_workflow.schemas import check_schema
from tmws_workflow.steps import KINDS, StepKind
from tmws_workflow.steps.base import NO_RETRY
from tmws_workflow.templates import OPEN, Template, Text, escape, parse_template

MAX_STEPS = 500
MAX_CONFIG_BYTES = 256 * 1024
MAX_PROBLEMS = 200
MAX_TIMEOUT_S = 366 * 86400.0
_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_CONFIG_FIELDS = frozenset({"inputs", "steps", "output"})
_STEP_FIELDS = frozenset({"id", "uses", "with", "needs", "if", "retry", "timeout"})
_RETRY_FIELDS = frozenset({"max_attempts", "initial", "factor", "max", "jitter"})
_TYPE_NAMES = {str: "a string", int: "an integer", float: "a number", dict: "an object", list: "a list"}


class InvalidDefinition(Exception):
    """A definition cannot run; `problems` names every reason."""

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__("; ".join(f"{item.pointer}: {item.detail}" for item in problems))
        self.problems = problems


def plan_workflow(kind: WorkflowType, config: Mapping[str, Any], pointer: str = "/config") -> Plan:
    """Return the plan of a definition.

    Raises:
        InvalidDefinition: it cannot run.
    """
    reader = _Reader(kind, pointer)
    plan = reader.read(config)
    if reader.problems or plan is None:
        raise InvalidDefinition(reader.problems[:MAX_PROBLEMS])
    return plan


class _Reader:
    """Reads one definition and collects what is wrong with it."""

    def __init__(self, kind: WorkflowType, pointer: str) -> None:
        self.problems: list[FieldProblem] = []
        self._kind = kind
        self._pointer = pointer
        self._inputs: Mapping[str, Any] | None = None

    def report(self, pointer: str, detail: str) -> None:
        self.problems.append(FieldProblem(pointer=pointer, detail=detail))

    def read(self, config: Mapping[str, Any]) -> Plan | None:
        if len(orjson.dumps(config)) > MAX_CONFIG_BYTES:
            self.report(self._pointer, f"must not be larger than {MAX_CONFIG_BYTES // 1024} KiB")
            return None
        self._refuse_unknown(config, _CONFIG_FIELDS, self._pointer)
        self._inputs = self._read_inputs(config.get("inputs"))
        steps = self._read_list(config)
        needs = self._read_needs(steps)
        circles = graph.find_circles(needs)
        self._name_circles(steps, circles)
        above = {} if circles else graph.upstream(needs)
        planned = {name: self._read_step(name, place, step, needs, above) for name, (place, step) in steps.items()}
        order = list(needs) if circles else graph.order(needs)
        ordered = {name: planned[name] for name in order}
        if config.get("output") is not None:
            ordered[OUTPUT_STEP] = self._read_output(config["output"], ordered)
        return _plan(ordered, self._inputs)

    def _refuse_unknown(self, value: Mapping[str, Any], known: frozenset[str], pointer: str) -> None:
        for name in value:
            if name not in known:
                self.report(f"{pointer}/{escape(name)}", f"is unknown; known here: {', '.join(sorted(known))}")

    def _read_inputs(self, schema: Any) -> Mapping[str, Any] | None:
        if schema is None:
            return None
        pointer = f"{self._pointer}/inputs"
        if not isinstance(schema, dict):
            self.report(pointer, "must be a JSON schema of an object")
            return None
        self.problems += check_schema(schema, pointer)
        return cast("dict[str, Any]", schema)

    def _read_list(self, config: Mapping[str, Any]) -> dict[str, tuple[int, dict[str, Any]]]:
        """The steps that have an id of their own, by it, with their places."""
        steps, pointer = config.get("steps"), f"{self._pointer}/steps"
        if not isinstance(steps, list) or not steps:
            self.report(pointer, "must be a list of at least one step")
            return {}
        listed = cast("list[Any]", steps)
        if len(listed) > MAX_STEPS:
            self.report(pointer, f"must not have more than {MAX_STEPS} steps")
            return {}
        found: dict[str, tuple[int, dict[str, Any]]] = {}
        for place, step in enumerate(listed):
            name = self._read_id(step, f"{pointer}/{place}", found)
            if name is not None:
                found[name] = (place, step)
        return found

    def _read_id(self, step: Any, pointer: str, found: Mapping[str, Any]) -> str | None:
        if not isinstance(step, dict):
            self.report(pointer, "must be an object with id and uses")
            return None
        name = cast("dict[str, Any]", step).get("id")
        if not isinstance(name, str) or not _ID.fullmatch(name):
            self.report(f"{pointer}/id", "must be 1 to 64 letters, digits and _, not beginning with a digit")
            return None
        if name in found:
            self.report(f"{pointer}/id", f"is used by step {found[name][0]} already")
            return None
        return name

    def _read_needs(self, steps: Mapping[str, tuple[int, dict[str, Any]]]) -> dict[str, list[str]]:
        needs: dict[str, list[str]] = {}
        for name, (place, step) in steps.items():
            given = self._read_need_list(step, f"{self._pointer}/steps/{place}/needs", steps)
            before = list(needs)[-1:]
            needs[name] = before if self._kind is WorkflowType.SEQUENTIAL else given
        return needs

    def _read_need_list(self, step: dict[str, Any], pointer: str, steps: Mapping[str, Any]) -> list[str]:
        needs = step.get("needs", [])
        if isinstance(needs, str):
            needs = [needs]
        if not isinstance(needs, list):
            self.report(pointer, "must be a list of step ids")
            return []
        if needs and self._kind is not WorkflowType.DAG:
            self.report(pointer, f"must not be given in a {self._kind} workflow; use workflow_type dag")
            return []
        listed = cast("list[Any]", needs)
        for place, need in enumerate(listed):
            if not isinstance(need, str) or need not in steps:
                self.report(f"{pointer}/{place}", "must be the id of a step")
            elif need in listed[:place]:
                self.report(f"{pointer}/{place}", "is named twice")
        return [need for need in listed if isinstance(need, str) and need in steps]

    def _name_circles(self, steps: Mapping[str, tuple[int, dict[str, Any]]], circles: list[list[str]]) -> None:
        for circle in circles:
            last, first = circle[-2], circle[-1]
            place, step = steps[last]
            need = 0 if isinstance(step["needs"], str) else step["needs"].index(first)
            pointer = f"{self._pointer}/steps/{place}/needs/{need}"
            self.report(pointer, f"closes a circle: {' needs '.join(circle)}")

    def _read_step(
        self,
        name: str,
        place: int,
        step: dict[str, Any],
        needs: Mapping[str, list[str]],
        above: Mapping[str, frozenset[str]],
    ) -> PlannedStep:
        pointer = f"{self._pointer}/steps/{place}"
        uses = self._read_uses(step.get("uses"), f"{pointer}/uses")
        kind = KINDS.get(uses or "")
        self._refuse_unknown(step, _STEP_FIELDS.union(kind.options if kind else ()), pointer)
        condition = self._read_condition(step.get("if"), f"{pointer}/if")
        arguments = self._read_arguments(uses, step.get("with", {}), f"{pointer}/with")
        upstream = above.get(name, frozenset(needs))
        self._check_references(arguments, condition, pointer, upstream, needs)
        return PlannedStep(
            id=name,
            uses=uses or "",
            needs=tuple(needs[name]),
            arguments=arguments,
            condition=condition,
            retry=self._read_retry(step.get("retry"), uses, f"{pointer}/retry"),
            timeout_s=self._read_duration(step, "timeout", pointer, MAX_TIMEOUT_S),
            is_lenient=self._kind is WorkflowType.SEQUENTIAL or _looks_at_status(condition),
            options=self._read_options(kind, step, pointer),
        )

    def _read_options(self, kind: StepKind | None, step: dict[str, Any], pointer: str) -> dict[str, Any]:
        if kind is None:
            return {}
        known = kind.options
        given = {name: step[name] for name in known if name in step}
        before = len(self.problems)
        for name, option in known.items():
            if name in given and not _fits(given[name], option.types):
                self.report(f"{pointer}/{name}", f"must be {_named(option.types)}")
            elif name not in given and option.is_required:
                self.report(f"{pointer}/{name}", "is required")
        if len(self.problems) == before:
            for name, detail in kind.check_options(given):
                self.report(f"{pointer}/{name}", detail)
        return given

    def _read_uses(self, uses: Any, pointer: str) -> str | None:
        if isinstance(uses, str) and uses in KINDS:
            return uses
        self.report(pointer, f"must be one of {', '.join(sorted(KINDS))}")
        return None

    def _read_condition(self, text: Any, pointer: str) -> Expression | None:
        if text is None:
            return None
        if not isinstance(text, str):
            self.report(pointer, "must be an expression that gives true or false, as a string")
            return None
        try:
            condition = compile_expression(_bare(text))
        except ExpressionError as error:
            self.report(pointer, str(error))
            return None
        if not is_condition(condition):
            self.report(pointer, "must give true or false")
        return condition

    def _read_arguments(self, uses: str | None, given: Any, pointer: str) -> Template:
        if not isinstance(given, dict):
            self.report(pointer, "must be an object")
            return {}
        arguments = cast("dict[str, Any]", parse_template(given, pointer, self.report))
        kind = KINDS.get(uses or "")
        if kind is None or kind.arguments is None:
            return arguments
        self._refuse_unknown(arguments, frozenset(kind.arguments), pointer)
        for name, argument in kind.arguments.items():
            if name not in arguments:
                if argument.is_required:
                    self.report(f"{pointer}/{name}", "is required")
            elif not _fits(arguments[name], argument.types):
                self.report(f"{pointer}/{name}", f"must be {_named(argument.types)}, or an expression")
        for name, detail in kind.check({key: _literal(value) for key, value in arguments.items()}):
            self.report(f"{pointer}/{name}" if name else pointer, detail)
        return arguments

    def _check_references(
        self,
        arguments: Template,
        condition: Expression | None,
        pointer: str,
        upstream: frozenset[str],
        steps: Mapping[str, Any],
    ) -> None:
        members: list[tuple[str, Expression]] = [] if condition is None else [(f"{pointer}/if", condition)]
        members += expressions_by_pointer(arguments, f"{pointer}/with")
        for where, expression in members:
            for detail in reference_problems(expression, upstream, steps, self._inputs):
                self.report(where, detail)

    def _read_retry(self, given: Any, uses: str | None, pointer: str) -> RetryPolicy:
        kind = KINDS.get(uses or "")
        default = NO_RETRY if kind is None else kind.retry
        if given is None:
            return default
        if not isinstance(given, dict):
            self.report(pointer, "must be an object")
            return default
        retry = cast("dict[str, Any]", given)
        self._refuse_unknown(retry, _RETRY_FIELDS, pointer)
        initial = self._read_duration(retry, "initial", pointer, 86400.0)
        longest = self._read_duration(retry, "max", pointer, 86400.0)
        return RetryPolicy(
            max_attempts=int(self._read_number(retry, "max_attempts", pointer, (1, 100), whole=True) or 3),
            initial_s=1.0 if initial is None else initial,
            factor=self._read_number(retry, "factor", pointer, (1, 10)) or 2.0,
            max_s=300.0 if longest is None else longest,
            jitter=0.2 if "jitter" not in retry else self._read_number(retry, "jitter", pointer, (0, 1)) or 0.0,
        )

    def _read_number(
        self, given: dict[str, Any], name: str, pointer: str, bounds: tuple[int, int], *, whole: bool = False
    ) -> float | None:
        if name not in given:
            return None
        value = given[name]
        low, high = bounds
        is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if is_number and low <= value <= high:
            return value
        self.report(f"{pointer}/{name}", f"must be {'an integer' if whole else 'a number'} from {low} to {high}")
        return None

    def _read_duration(self, given: dict[str, Any], name: str, pointer: str, longest_s: float) -> float | None:
        value = given.get(name)
        if value is None:
            return None
        try:
            seconds = parse_duration(value if isinstance(value, str) else "")
        except ValueError as error:
            self.report(f"{pointer}/{name}", str(error))
            return None
        if not 0 < seconds <= longest_s:
            self.report(f"{pointer}/{name}", f"must be more than 0 and at most {int(longest_s // 86400)}d")
        return seconds

    def _read_output(self, output: Any, steps: Mapping[str, PlannedStep]) -> PlannedStep:
        pointer = f"{self._pointer}/output"
        template = parse_template(output, pointer, self.report)
        for where, expression in expressions_by_pointer(template, pointer):
            for detail in reference_problems(expression, frozenset(steps), steps, self._inputs):
                self.report(where, detail)
        return PlannedStep(
            id=OUTPUT_STEP, uses="transform", needs=tuple(steps), arguments=template, retry=NO_RETRY, is_lenient=True
        )


def _bare(text: str) -> str:
    """`if` is an expression; GitHub's habit of wrapping it is understood."""
    stripped = text.strip()
    return stripped[len(OPEN) : -2].strip() if stripped.startswith(OPEN) and stripped.endswith("}}") else stripped


def _looks_at_status(condition: Expression | None) -> bool:
    return condition is not None and any(
        item.root == "steps" and item.field == "status" for item in condition.references
    )


def _named(types: tuple[type, ...]) -> str:
    return " or ".join(_TYPE_NAMES[item] for item in types)


def _fits(value: Template, types: tuple[type, ...]) -> bool:
    if isinstance(value, Text):
        return value.is_one_expression or str in types
    return isinstance(value, types) and (not isinstance(value, bool) or bool in types)


def _literal(value: Template) -> Any:
    return None if isinstance(value, Text) else value


def _plan(steps: Mapping[str, PlannedStep], inputs: Mapping[str, Any] | None) -> Plan:
    followers = graph.successors({name: step.needs for name, step in steps.items()})
    return Plan(steps, {name: tuple(after) for name, after in followers.items()}, inputs)
