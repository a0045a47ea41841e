"""Every problem of a definition is found, at its place."""

import pytest

from tmws_contracts.workflow import WorkflowType
from tmws_workflow.engine import OUTPUT_STEP
from tmws_workflow.errors import DefinitionInvalid
from tmws_workflow.retries import RetryPolicy
from tmws_workflow.validation import plan_workflow

NOOP = {"id": "a", "uses": "transform"}
AFTER = {"id": "b", "uses": "transform", "needs": ["a"]}


def step(**fields):
    return {"steps": [NOOP | fields]}


def second(**fields):
    return {"steps": [NOOP, {"id": "b", "uses": "transform"} | fields]}


def problems_of(config, kind="dag"):
    with pytest.raises(DefinitionInvalid) as caught:
        plan_workflow(WorkflowType(kind), config)
    return {problem.pointer: problem.detail for problem in caught.value.errors}


BAD = [
    ({}, "/config/steps", "must be a list"),
    ({"steps": []}, "/config/steps", "at least one"),
    ({"steps": {}}, "/config/steps", "must be a list"),
    ({"steps": [NOOP | {"id": f"s{n}"} for n in range(501)]}, "/config/steps", "more than 500"),
    ({"steps": ["a"]}, "/config/steps/0", "must be an object"),
    ({"steps": [NOOP], "stepz": 1}, "/config/stepz", "is unknown"),
    ({"steps": [{"uses": "transform"}]}, "/config/steps/0/id", "1 to 64 letters"),
    (step(id="a-b"), "/config/steps/0/id", "1 to 64 letters"),
    (step(id="1a"), "/config/steps/0/id", "1 to 64 letters"),
    (step(id="a" * 65), "/config/steps/0/id", "1 to 64 letters"),
    (step(id="$output"), "/config/steps/0/id", "1 to 64 letters"),
    (step(id=7), "/config/steps/0/id", "1 to 64 letters"),
    ({"steps": [NOOP, NOOP]}, "/config/steps/1/id", "is used by step 0 already"),
    ({"steps": [{"id": "a"}]}, "/config/steps/0/uses", "must be one of agent, approval, delay, http, map"),
    (step(uses="shell"), "/config/steps/0/uses", "must be one of"),
    (step(uses=["transform"]), "/config/steps/0/uses", "must be one of"),
    (step(on_error="ignore"), "/config/steps/0/on_error", "must be fail or continue"),
    (step(on_error=["fail"]), "/config/steps/0/on_error", "must be fail or continue"),
    (step(at_most_once="yes"), "/config/steps/0/at_most_once", "must be true or false"),
    (step(compensate="undo"), "/config/steps/0/compensate", "must be an object"),
    (step(compensate={}), "/config/steps/0/compensate/uses", "must be one of agent"),
    (step(compensate={"uses": "map"}), "/config/steps/0/compensate/uses", "must be one of agent"),
    (step(compensate=NOOP), "/config/steps/0/compensate/id", "is unknown"),
    (
        step(compensate={"uses": "transform", "with": {"x": "${{ steps.z.output }}"}}),
        "/config/steps/0/compensate/with/x",
        "does not exist",
    ),
    (step(**{"with": {"x": "${{ item }}"}}), "/config/steps/0/with/x", "undeclared reference to 'item'"),
    (step(uses="map", **{"with": {"over": []}}), "/config/steps/0/step", "is required"),
    (
        step(uses="map", step={"uses": "transform"}, **{"with": {"over": [], "concurrency": 0}}),
        "/config/steps/0/with/concurrency",
        "from 1 to 100",
    ),
    (step(uses="workflow"), "/config/steps/0/with", "either workflow_id or name"),
    (
        step(uses="workflow", **{"with": {"workflow_id": "x"}}),
        "/config/steps/0/with/workflow_id",
        "must be the id of a workflow",
    ),
    (step(run="ls"), "/config/steps/0/run", "is unknown"),
    (step(needs=["x"]), "/config/steps/0/needs/0", "must be the id of a step"),
    (step(needs=[None]), "/config/steps/0/needs/0", "must be the id of a step"),
    (step(needs=3), "/config/steps/0/needs", "must be a list"),
    (second(needs=["a", "a"]), "/config/steps/1/needs/1", "is named twice"),
    (step(needs=["a"]), "/config/steps/0/needs/0", "closes a circle: a needs a"),
    (step(needs="a"), "/config/steps/0/needs/0", "closes a circle: a needs a"),
    (
        {"steps": [NOOP | {"needs": ["c"]}, AFTER, {"id": "c", "uses": "transform", "needs": ["b"]}]},
        "/config/steps/1/needs/0",
        "closes a circle: a needs c needs b needs a",
    ),
    (step(**{"if": "1 +"}), "/config/steps/0/if", "character 4: Syntax error"),
    (step(**{"if": "inputs.size() + 1"}), "/config/steps/0/if", "must give true or false"),
    (step(**{"if": True}), "/config/steps/0/if", "as a string"),
    (step(**{"if": "${{ nope }}"}), "/config/steps/0/if", "undeclared reference"),
    (step(**{"with": {"x": "${{ 1 + }}"}}), "/config/steps/0/with/x", "character 4"),
    (step(**{"with": {"x": "${{ 1"}}), "/config/steps/0/with/x", "must be closed by }}"),
    (step(**{"with": {"x": ["${{ env.HOME }}"]}}), "/config/steps/0/with/x/0", "undeclared reference"),
    (step(**{"with": []}), "/config/steps/0/with", "must be an object"),
    (step(**{"with": {"x": "${{ steps.q.output }}"}}), "/config/steps/0/with/x", "a step that does not exist"),
    (step(**{"with": {"x": "${{ steps.a.output }}"}}), "/config/steps/0/with/x", "does not come before this step"),
    (second(**{"with": {"x": "${{ steps.a.output }}"}}), "/config/steps/1/with/x", "add it to needs"),
    (second(**{"if": "steps.a.output.ok"}), "/config/steps/1/if", "add it to needs"),
    (
        {"steps": [NOOP, AFTER | {"if": "steps.a.result"}]},
        "/config/steps/1/if",
        "must be steps.a.error or steps.a.output or steps.a.status",
    ),
    (step(**{"if": "steps.size() > 0"}), "/config/steps/0/if", "must name a step"),
    (step(**{"if": "size(steps) > 0"}), "/config/steps/0/if", "must name a step"),
    (step(**{"if": "execution.secret == ''"}), "/config/steps/0/if", "execution.id"),
    (step(**{"with": {"x": "${{ inputs.topic }}"}}), "/config/steps/0/with/x", "inputs.properties does not name"),
    (
        {"inputs": {"properties": {"t": {}}}, "steps": [NOOP | {"if": "inputs.topic == ''"}]},
        "/config/steps/0/if",
        "inputs.properties does not name",
    ),
    ({"inputs": [], "steps": [NOOP]}, "/config/inputs", "must be a JSON schema"),
    ({"inputs": {"type": "text"}, "steps": [NOOP]}, "/config/inputs/type", "must satisfy"),
    (
        {"inputs": {"properties": {"a": {"$ref": "//x"}}}, "steps": [NOOP]},
        "/config/inputs/properties/a/$ref",
        "#/$defs/",
    ),
    (step(timeout="soon"), "/config/steps/0/timeout", "must be a duration"),
    (step(timeout=5), "/config/steps/0/timeout", "must be a duration"),
    (step(timeout="0s"), "/config/steps/0/timeout", "more than 0"),
    (step(timeout="4000d"), "/config/steps/0/timeout", "at most 366d"),
    (step(retry=3), "/config/steps/0/retry", "must be an object"),
    (step(retry={"times": 3}), "/config/steps/0/retry/times", "is unknown"),
    (step(retry={"max_attempts": 0}), "/config/steps/0/retry/max_attempts", "an integer from 1 to 100"),
    (step(retry={"max_attempts": 2.5}), "/config/steps/0/retry/max_attempts", "an integer"),
    (step(retry={"max_attempts": True}), "/config/steps/0/retry/max_attempts", "an integer"),
    (step(retry={"initial": "x"}), "/config/steps/0/retry/initial", "must be a duration"),
    (step(retry={"factor": 0.5}), "/config/steps/0/retry/factor", "a number from 1 to 10"),
    (step(retry={"max": "400d"}), "/config/steps/0/retry/max", "at most 1d"),
    (step(retry={"jitter": 2}), "/config/steps/0/retry/jitter", "a number from 0 to 1"),
    (step(uses="task"), "/config/steps/0/with/title", "is required"),
    (step(uses="task", **{"with": {"title": 5}}), "/config/steps/0/with/title", "must be a string"),
    (step(uses="task", **{"with": {"title": "t", "owner": "x"}}), "/config/steps/0/with/owner", "is unknown"),
    (
        step(uses="memory.search", **{"with": {"query": "q", "limit": "5"}}),
        "/config/steps/0/with/limit",
        "must be an integer, or an expression",
    ),
    (
        step(uses="memory.search", **{"with": {"query": "q", "limit": True}}),
        "/config/steps/0/with/limit",
        "must be an integer",
    ),
    (
        step(uses="memory.search", **{"with": {"query": "q", "limit": "n=${{ 5 }}"}}),
        "/config/steps/0/with/limit",
        "must be an integer",
    ),
    (step(uses="memory.store"), "/config/steps/0/with/content", "is required"),
    (step(uses="delay"), "/config/steps/0/with", "either duration or until"),
    (
        step(uses="delay", **{"with": {"duration": "5s", "until": "x"}}),
        "/config/steps/0/with",
        "either duration or until",
    ),
    (step(uses="delay", **{"with": {"duration": "5"}}), "/config/steps/0/with/duration", "must be a duration"),
    (step(uses="delay", **{"with": {"duration": "400d"}}), "/config/steps/0/with/duration", "more than 366 days"),
    (step(uses="delay", **{"with": {"until": "tomorrow"}}), "/config/steps/0/with/until", "must be a time"),
    (step(uses="delay", **{"with": {"until": "2026-01-01T00:00"}}), "/config/steps/0/with/until", "with its zone"),
    ({"steps": [NOOP], "output": "${{ steps.x.output }}"}, "/config/output", "a step that does not exist"),
    ({"steps": [NOOP], "output": {"a": "${{ ] }}"}}, "/config/output/a", "Syntax error"),
    (step(**{"with": {"x": "y" * 300_000}}), "/config", "larger than 256 KiB"),
]


@pytest.mark.parametrize(("config", "pointer", "detail"), BAD)
def test_bad_definition_is_refused_at_its_place(config, pointer, detail):
    problems = problems_of(config)
    assert set(problems) == {pointer}
    assert detail in problems[pointer]


@pytest.mark.parametrize("kind", ["sequential", "parallel"])
def test_needs_are_refused_outside_a_dag(kind):
    assert "use workflow_type dag" in problems_of({"steps": [NOOP, AFTER]}, kind)["/config/steps/1/needs"]


def test_parallel_steps_cannot_read_each_other():
    config = {"steps": [NOOP, {"id": "b", "uses": "transform", "with": {"x": "${{ steps.a.output }}"}}]}
    assert "does not come before" in problems_of(config, "parallel")["/config/steps/1/with/x"]


def test_sequential_step_cannot_read_a_later_one():
    config = {"steps": [NOOP | {"with": {"x": "${{ steps.b.output }}"}}, {"id": "b", "uses": "transform"}]}
    assert "does not come before" in problems_of(config, "sequential")["/config/steps/0/with/x"]


def test_all_problems_are_told_at_once():
    config = {
        "inputs": {"type": 5},
        "steps": [
            {"id": "a", "uses": "nope", "timeout": "x"},
            {"id": "b", "uses": "transform", "needs": ["q"], "z": 1},
        ],
        "output": "${{ ) }}",
    }
    assert set(problems_of(config)) == {
        "/config/inputs/type",
        "/config/steps/0/uses",
        "/config/steps/0/timeout",
        "/config/steps/1/needs/0",
        "/config/steps/1/z",
        "/config/output",
    }


def test_unknown_field_with_a_slash_is_escaped():
    assert "/config/steps/0/a~1b" in problems_of(step(**{"a/b": 1}))


def plan(config, kind="dag"):
    return plan_workflow(WorkflowType(kind), config)


def test_sequential_steps_need_the_one_before():
    steps = plan({"steps": [NOOP, {"id": "b", "uses": "transform"}]}, "sequential").steps
    assert steps["b"].needs == ("a",)


def test_parallel_steps_need_nothing():
    steps = plan({"steps": [NOOP, {"id": "b", "uses": "transform"}]}, "parallel").steps
    assert steps["b"].needs == ()


def test_output_comes_after_every_step():
    result = plan({"steps": [NOOP, AFTER], "output": "${{ steps.b.output }}"})
    assert result.steps[OUTPUT_STEP].needs == ("a", "b")
    assert result.successors["a"] == ("b", OUTPUT_STEP)


def test_condition_on_a_status_lets_a_step_follow_a_skipped_one():
    steps = plan({"steps": [NOOP, AFTER | {"if": "steps.a.status == 'skipped'"}]}).steps
    assert steps["b"].is_lenient


def test_condition_on_an_output_does_not_let_a_step_follow_a_skipped_one():
    steps = plan({"steps": [NOOP, AFTER | {"if": "steps.a.output.ok"}]}).steps
    assert not steps["b"].is_lenient


def test_wrapped_condition_is_understood():
    assert plan(step(**{"if": "${{ true }}"})).steps["a"].condition.text == "true"


def test_expression_may_stand_for_any_type():
    config = {
        "inputs": {"properties": {"n": {"type": "integer"}}},
        "steps": [
            {"id": "a", "uses": "memory.search", "with": {"query": "${{ inputs.n }}", "limit": "${{ inputs.n }}"}}
        ],
    }
    assert plan(config).steps["a"].reads == frozenset()


def test_open_inputs_may_be_read_by_any_name():
    plan({"inputs": {"additionalProperties": True}, "steps": [NOOP | {"with": {"x": "${{ inputs.anything }}"}}]})


def test_steps_that_call_services_are_tried_again_unless_told():
    steps = plan({"steps": [{"id": "a", "uses": "task", "with": {"title": "t"}}]}).steps
    assert steps["a"].retry == RetryPolicy(max_attempts=5, initial_s=1, factor=2, max_s=60)


def test_retry_is_read():
    steps = plan(step(retry={"max_attempts": 5, "initial": "1s", "factor": 2, "max": "5m", "jitter": 0})).steps
    assert steps["a"].retry == RetryPolicy(max_attempts=5, initial_s=1, factor=2, max_s=300, jitter=0)


def test_step_reads_what_its_expressions_name():
    steps = plan({"steps": [NOOP, AFTER | {"with": {"x": "${{ steps.a.output }}"}}]}).steps
    assert steps["b"].reads == {"a"}
