"""One attempt of a step: whether it runs at all, its arguments, its outcome."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

from tmws_contracts.workflow import StepStatus
from tmws_shared.clock import now
from tmws_shared.http import UpstreamProblem
from tmws_shared.problems import ProblemError, Unavailable
from tmws_workflow.contexts import Context, Item
from tmws_workflow.definition import PlannedStep
from tmws_workflow.engine import OUTPUT_STEP, Completed, Failed, Outcome, OutcomeUnknown, Skipped
from tmws_workflow.expressions import Expression, ExpressionError, check_size, evaluate
from tmws_workflow.repository.queue import Held
from tmws_workflow.retries import RetryPolicy
from tmws_workflow.sandbox import Sandbox
from tmws_workflow.steps import KINDS
from tmws_workflow.steps.base import Services, StepCall, StepFailed
from tmws_workflow.templates import fill

# The code of a request that was sent, and of which nobody knows what became.
_UNANSWERED = "unanswered"
_log = logging.getLogger(__name__)


class Attempts:
    """Runs attempts, with what every one of them needs."""

    def __init__(self, services: Services, sandbox: Sandbox) -> None:
        self._services = services
        self._sandbox = sandbox

    async def run(
        self, step: PlannedStep, held: Held, context: Context, begin: Callable[[], None] = lambda: None
    ) -> Outcome:
        """Run one attempt, calling `begin` right before its effect; every failure becomes an outcome."""
        policy = step.retry or RetryPolicy()
        try:
            return await self._run(step, held, context, begin)
        except (StepFailed, ProblemError) as problem:
            failure = failure_of(problem, policy, held.attempt)
            is_unknown = step.is_at_most_once and failure.error["code"] == _UNANSWERED
            return OutcomeUnknown(failure.error) if is_unknown else failure
        except Exception:  # noqa: BLE001 -- the job wrapper
            _log.exception("step kind %s broke", step.uses)
            return _failed("internal", "The step broke; the worker's log says more.")

    async def _run(self, step: PlannedStep, held: Held, context: Context, begin: Callable[[], None]) -> Outcome:
        item = None if held.item_no is None else Item(held.input, held.item_no)
        reason = await self._reason_to_skip(step, context, item)
        if reason is not None:
            return Skipped(reason)
        kind = KINDS[step.uses]
        call = StepCall(
            execution_id=context.origin.execution_id,
            path=held.path,
            arguments=await self._arguments(step, context, item),
            options=step.options,
            principal=context.principal(kind.scopes),
            services=self._services,
            now=now(),
            run=held.run,
        )
        begin()
        outcome = await kind.start(call)
        if isinstance(outcome, Completed):
            _check_size(outcome.output)
        return outcome

    async def _reason_to_skip(self, step: PlannedStep, context: Context, item: Item | None) -> str | None:
        if not step.is_lenient:
            for need in step.needs:
                if context.results[need].status is StepStatus.SKIPPED:
                    return f"{need} was skipped"
        if step.condition is None:
            return None
        try:
            wanted = await self._evaluate(step.condition, context, item)
        except ExpressionError as error:
            raise StepFailed("expression", f"/if: {error}") from None
        if not isinstance(wanted, bool):
            raise StepFailed("expression", "/if: gave something other than true or false")
        return None if wanted else "its condition is false"

    async def _arguments(self, step: PlannedStep, context: Context, item: Item | None) -> Any:
        if not step.expressions:
            return step.arguments
        values = {each.text: await self._value(step, each, context, item) for each in step.expressions}
        return fill(step.arguments, values)

    async def _value(self, step: PlannedStep, expression: Expression, context: Context, item: Item | None) -> Any:
        try:
            return await self._evaluate(expression, context, item)
        except ExpressionError as error:
            skipped = [name for name in expression.steps if context.results[name].status is StepStatus.SKIPPED]
            if skipped and step.id == OUTPUT_STEP:
                return None
            reason = f"{skipped[0]} was skipped and has no output" if skipped else str(error)
            raise StepFailed("expression", f"/with: `{expression.text}`: {reason}") from None

    async def _evaluate(self, expression: Expression, context: Context, item: Item | None) -> Any:
        data, size = context.data_for(expression, item)
        if not expression.is_light(size):
            return await self._sandbox.evaluate(expression, data)
        value = evaluate(expression, data)
        check_size(value)
        return value


def _check_size(output: Any) -> None:
    try:
        check_size(output)
    except ExpressionError as error:
        raise StepFailed("too_large", f"The output is refused: {error}") from None


def failure_of(problem: StepFailed | ProblemError, policy: RetryPolicy, attempt: int) -> Failed:
    """Return what a failed attempt means: tried again when that can help and the policy allows it."""
    if isinstance(problem, StepFailed):
        error, retry_after_s = problem.error, problem.retry_after_s
    else:
        error, retry_after_s = _explain(problem), _retry_after_s(problem)
    if retry_after_s is None:
        return Failed(error)
    return Failed(error, policy.delay_s(attempt, retry_after_s, random.random()))  # noqa: S311 -- jitter, not a secret


def _explain(problem: ProblemError) -> dict[str, Any]:
    code = "unavailable" if isinstance(problem, Unavailable) else "refused"
    error: dict[str, Any] = {"code": code, "message": problem.detail or str(problem), "status": problem.status}
    return {**error, "problem": problem.upstream} if isinstance(problem, UpstreamProblem) else error


def _retry_after_s(problem: ProblemError) -> float | None:
    """The least pause before another attempt, None when the same request would be refused again."""
    is_transient = problem.status == 429 or problem.status >= 500 or problem.retryable
    if isinstance(problem, UpstreamProblem):
        is_transient |= problem.upstream.get("retryable") is True
    if not is_transient:
        return None
    given = problem.headers.get("Retry-After", "")
    return float(given) if given.isascii() and given.isdigit() else 0.0


def _failed(code: str, message: str) -> Failed:
    return Failed({"code": code, "message": message})
