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
from tmws_workflow.engine import OUTPUT_STEP
from tmws_workflow.errors import DefinitionInvalid
from tmws_workflow.references import expressions_by_pointer, reference_problems
from tmws_workflow.schemas import check_schema
from tmws_workflow.step_reader import Place, StepReader, refuse_unknown
from tmws_workflow.steps.base import NO_RETRY
from tmws_workflow.templates import parse_template

MAX_STEPS = 500
MAX_CONFIG_BYTES = 256 * 1024
MAX_PROBLEMS = 200
_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_CONFIG_FIELDS = frozenset({"inputs", "steps", "output"})


def plan_workflow(kind: WorkflowType, config: Mapping[str, Any], pointer: str = "/config") -> Plan:
    """Return the plan of a definition.

    Raises:
        DefinitionInvalid: it cannot run; its `errors` name every reason.
    """
    reader = _Reader(kind, pointer)
    plan = reader.read(config)
    if reader.problems or plan is None:
        raise DefinitionInvalid(reader.problems[:MAX_PROBLEMS])
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
        refuse_unknown(self.report, config, _CONFIG_FIELDS, self._pointer)
        self._inputs = self._read_inputs(config.get("inputs"))
        steps = self._read_list(config)
        needs = self._read_needs(steps)
        circles = graph.find_circles(needs)
        self._name_circles(steps, circles)
        above = {} if circles else graph.upstream(needs)
        reader = StepReader(self.problems, self._inputs, needs)
        planned = {
            name: reader.read(
                step,
                Place(
                    name,
                    f"{self._pointer}/steps/{place}",
                    tuple(needs[name]),
                    above.get(name, frozenset(needs)),
                    is_lenient=self._kind is WorkflowType.SEQUENTIAL,
                ),
            )
            for name, (place, step) in steps.items()
        }
        order = list(needs) if circles else graph.order(needs)
        ordered = {name: planned[name] for name in order}
        if config.get("output") is not None:
            ordered[OUTPUT_STEP] = self._read_output(config["output"], ordered)
        return _plan(ordered, self._inputs)

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

    def _read_output(self, output: Any, steps: Mapping[str, PlannedStep]) -> PlannedStep:
        pointer = f"{self._pointer}/output"
        template = parse_template(output, pointer, self.report)
        for where, expression in expressions_by_pointer(template, pointer):
            for detail in reference_problems(expression, frozenset(steps), steps, self._inputs):
                self.report(where, detail)
        return PlannedStep(
            id=OUTPUT_STEP, uses="transform", needs=tuple(steps), arguments=template, retry=NO_RETRY, is_lenient=True
        )


def _plan(steps: Mapping[str, PlannedStep], inputs: Mapping[str, Any] | None) -> Plan:
    followers = graph.successors({name: step.needs for name, step in steps.items()})
    return Plan(steps, {name: tuple(after) for name, after in followers.items()}, inputs)
