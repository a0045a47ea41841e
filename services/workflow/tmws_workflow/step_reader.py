"""One step of a definition: its fields read and checked, every problem with its JSON pointer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from tmws_contracts.common import FieldProblem
from tmws_workflow.definition import UNDO, PlannedStep
from tmws_workflow.durations import parse_duration
from tmws_workflow.expressions import Expression, ExpressionError, compile_expression, is_condition
from tmws_workflow.references import expressions_by_pointer, reference_problems
from tmws_workflow.retries import RetryPolicy
from tmws_workflow.steps import KINDS, StepKind
from tmws_workflow.steps.base import NO_RETRY, has_type
from tmws_workflow.steps.map import MAP
from tmws_workflow.templates import OPEN, Template, Text, escape, parse_template

MAX_TIMEOUT_S = 366 * 86400.0
_UNDO_FIELDS = frozenset({"uses", "with", "retry", "timeout"})
_INNER_FIELDS = _UNDO_FIELDS | {"if", "on_error", "at_most_once"}
_STEP_FIELDS = _INNER_FIELDS | {"id", "needs", "compensate"}
_RETRY_FIELDS = frozenset({"max_attempts", "initial", "factor", "max", "jitter"})
_ON_ERROR = ("fail", "continue")
_TYPE_NAMES = {
    str: "a string",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    dict: "an object",
    list: "a list",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a step stands: its id and pointer, the steps it needs, and all that come before it."""

    id: str
    pointer: str
    needs: tuple[str, ...]
    upstream: frozenset[str]
    is_lenient: bool
    fields: frozenset[str] = _STEP_FIELDS
    knows_item: bool = False


def refuse_unknown(
    report: Callable[[str, str], None], value: Mapping[str, Any], known: frozenset[str], pointer: str
) -> None:
    """Report every member that is not known."""
    for name in value:
        if name not in known:
            report(f"{pointer}/{escape(name)}", f"is unknown; known here: {', '.join(sorted(known))}")


class StepReader:
    """Reads the steps of one definition; what is wrong goes to `problems`. `steps` are the ids there are."""

    def __init__(
        self, problems: list[FieldProblem], inputs: Mapping[str, Any] | None, steps: Mapping[str, Any]
    ) -> None:
        self._problems = problems
        self._inputs = inputs
        self._steps = steps

    def read(self, step: dict[str, Any], place: Place) -> PlannedStep:
        """Return the step; what cannot be read of it is left out."""
        pointer = place.pointer
        uses = self._read_uses(step.get("uses"), place)
        kind = KINDS.get(uses or "")
        refuse_unknown(self._report, step, place.fields.union(kind.options if kind else ()), pointer)
        condition = self._read_condition(step.get("if"), place)
        arguments = self._read_arguments(uses, step.get("with", {}), place)
        self._check_references(arguments, condition, place)
        is_at_most_once = self._read_flag(step, "at_most_once", pointer)
        return PlannedStep(
            id=place.id,
            uses=uses or "",
            needs=place.needs,
            arguments=arguments,
            condition=condition,
            retry=self._read_retry(step.get("retry"), uses, pointer, is_at_most_once=is_at_most_once),
            timeout_s=self._read_duration(step, "timeout", pointer, MAX_TIMEOUT_S),
            is_lenient=place.is_lenient or _looks_at_status(condition),
            options=self._read_options(kind, step, arguments, pointer),
            is_tolerant=self._read_on_error(step, pointer),
            is_at_most_once=is_at_most_once,
            undo=self._read_undo(step.get("compensate"), place),
            inner=self._read_inner(step.get("step"), place) if uses == MAP else None,
        )

    def _report(self, pointer: str, detail: str) -> None:
        self._problems.append(FieldProblem(pointer=pointer, detail=detail))

    def _read_inner(self, step: Any, place: Place) -> PlannedStep | None:
        """The step of a map; that it is there and an object is checked with the other options."""
        if not isinstance(step, dict):
            return None
        pointer = f"{place.pointer}/step"
        return self.read(
            cast("dict[str, Any]", step),
            replace(place, pointer=pointer, needs=(), is_lenient=True, fields=_INNER_FIELDS, knows_item=True),
        )

    def _read_undo(self, given: Any, place: Place) -> PlannedStep | None:
        if given is None or place.fields is not _STEP_FIELDS:
            return None
        pointer = f"{place.pointer}/compensate"
        if not isinstance(given, dict):
            self._report(pointer, "must be an object with uses")
            return None
        # It runs when everything has ended, so it may read any step.
        everything = frozenset(self._steps)
        undo = Place(f"{place.id}{UNDO}", pointer, (), everything, is_lenient=True, fields=_UNDO_FIELDS)
        return self.read(cast("dict[str, Any]", given), undo)

    def _read_on_error(self, step: dict[str, Any], pointer: str) -> bool:
        given = step.get("on_error", "fail")
        if given not in _ON_ERROR:
            self._report(f"{pointer}/on_error", "must be fail or continue")
        return given == "continue"

    def _read_flag(self, step: dict[str, Any], name: str, pointer: str) -> bool:
        given = step.get(name, False)
        if not isinstance(given, bool):
            self._report(f"{pointer}/{name}", "must be true or false")
        return given is True

    def _read_options(
        self, kind: StepKind | None, step: dict[str, Any], arguments: Mapping[str, Any], pointer: str
    ) -> dict[str, Any]:
        if kind is None:
            return {}
        known = kind.options
        given = {name: step[name] for name in known if name in step}
        before = len(self._problems)
        for name, option in known.items():
            if name in given and not _fits(given[name], option.types):
                self._report(f"{pointer}/{name}", f"must be {_named(option.types)}")
            elif name not in given and option.is_required:
                self._report(f"{pointer}/{name}", "is required")
        if len(self._problems) == before:
            for name, detail in kind.check_options(given, arguments):
                self._report(f"{pointer}/{name}", detail)
        return given

    def _read_uses(self, uses: Any, place: Place) -> str | None:
        is_whole = place.fields is _STEP_FIELDS
        known = [kind for kind in sorted(KINDS) if is_whole or kind != MAP]
        if isinstance(uses, str) and uses in known:
            return uses
        self._report(f"{place.pointer}/uses", f"must be one of {', '.join(known)}")
        return None

    def _read_condition(self, text: Any, place: Place) -> Expression | None:
        pointer = f"{place.pointer}/if"
        if text is None:
            return None
        if not isinstance(text, str):
            self._report(pointer, "must be an expression that gives true or false, as a string")
            return None
        try:
            condition = compile_expression(_bare(text), knows_item=place.knows_item)
        except ExpressionError as error:
            self._report(pointer, str(error))
            return None
        if not is_condition(condition):
            self._report(pointer, "must give true or false")
        return condition

    def _read_arguments(self, uses: str | None, given: Any, place: Place) -> Template:
        pointer = f"{place.pointer}/with"
        if not isinstance(given, dict):
            self._report(pointer, "must be an object")
            return {}
        compile_ = partial(compile_expression, knows_item=place.knows_item)
        arguments = cast("dict[str, Any]", parse_template(given, pointer, self._report, compile_))
        kind = KINDS.get(uses or "")
        if kind is None or kind.arguments is None:
            return arguments
        refuse_unknown(self._report, arguments, frozenset(kind.arguments), pointer)
        for name, argument in kind.arguments.items():
            if name not in arguments:
                if argument.is_required:
                    self._report(f"{pointer}/{name}", "is required")
            elif not _fits(arguments[name], argument.types):
                self._report(f"{pointer}/{name}", f"must be {_named(argument.types)}, or an expression")
        for name, detail in kind.check({key: _literal(value) for key, value in arguments.items()}):
            self._report(f"{pointer}/{name}" if name else pointer, detail)
        return arguments

    def _check_references(self, arguments: Template, condition: Expression | None, place: Place) -> None:
        members: list[tuple[str, Expression]] = [] if condition is None else [(f"{place.pointer}/if", condition)]
        members += expressions_by_pointer(arguments, f"{place.pointer}/with")
        for where, expression in members:
            for detail in reference_problems(expression, place.upstream, self._steps, self._inputs):
                self._report(where, detail)

    def _read_retry(self, given: Any, uses: str | None, pointer: str, *, is_at_most_once: bool) -> RetryPolicy:
        pointer = f"{pointer}/retry"
        kind = KINDS.get(uses or "")
        default = NO_RETRY if kind is None or is_at_most_once else kind.retry
        if given is None:
            return default
        if is_at_most_once:
            self._report(pointer, "must not be given with at_most_once")
            return default
        if not isinstance(given, dict):
            self._report(pointer, "must be an object")
            return default
        retry = cast("dict[str, Any]", given)
        refuse_unknown(self._report, retry, _RETRY_FIELDS, pointer)
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
        self._report(f"{pointer}/{name}", f"must be {'an integer' if whole else 'a number'} from {low} to {high}")
        return None

    def _read_duration(self, given: dict[str, Any], name: str, pointer: str, longest_s: float) -> float | None:
        value = given.get(name)
        if value is None:
            return None
        try:
            seconds = parse_duration(value if isinstance(value, str) else "")
        except ValueError as error:
            self._report(f"{pointer}/{name}", str(error))
            return None
        if not 0 < seconds <= longest_s:
            self._report(f"{pointer}/{name}", f"must be more than 0 and at most {int(longest_s // 86400)}d")
        return seconds


def _bare(text: str) -> str:
    """`if` is an expression; GitHub's habit of wrapping it is understood."""
    stripped = text.strip()
    return stripped[len(OPEN) : -2].strip() if stripped.startswith(OPEN) and stripped.endswith("}}") else stripped


def _looks_at_status(condition: Expression | None) -> bool:
    return condition is not None and any(
        item.root == "steps" and item.field in ("status", "error") for item in condition.references
    )


def _named(types: tuple[type, ...]) -> str:
    return " or ".join(_TYPE_NAMES[item] for item in types)


def _fits(value: Template, types: tuple[type, ...]) -> bool:
    if isinstance(value, Text):
        return value.is_one_expression or str in types
    return has_type(value, types)


def _literal(value: Template) -> Any:
    return None if isinstance(value, Text) else value
