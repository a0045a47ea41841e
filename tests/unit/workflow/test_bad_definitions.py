"""A hundred definitions that cannot run, each refused at the right place."""

from __future__ import annotations

from typing import Any

import pytest

from tmws_contracts.workflow import WorkflowType
from tmws_workflow.errors import DefinitionInvalid
from tmws_workflow.validation import plan_workflow

Json = dict[str, Any]
A = {"id": "a", "uses": "transform"}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
ID = "01890000-0000-7000-8000-000000000000"


def one(**fields: Any) -> Json:
    return {"steps": [A | fields]}


def two(**fields: Any) -> Json:
    return {"steps": [A, {"id": "b", "uses": "transform"} | fields]}


def kind(uses: str, with_: Any = None, **fields: Any) -> Json:
    return {"steps": [{"id": "a", "uses": uses, "with": {} if with_ is None else with_} | fields]}


def each(step: Any, over: Any = "${{ [1] }}", **with_: Any) -> Json:
    return kind("map", {"over": over, **with_}, step=step)


S, W = "/config/steps/0", "/config/steps/0/with"
WHOLE: list[tuple[Json, str]] = [
    ({}, "/config/steps"),
    ({"steps": None}, "/config/steps"),
    ({"steps": {}}, "/config/steps"),
    ({"steps": []}, "/config/steps"),
    ({"steps": [A | {"id": f"s{n}"} for n in range(501)]}, "/config/steps"),
    ({"steps": ["a"]}, "/config/steps/0"),
    ({"steps": [A], "step": []}, "/config/step"),
    ({"steps": [A], "a/b": 1}, "/config/a~1b"),
    ({"steps": [A], "inputs": []}, "/config/inputs"),
    ({"steps": [A], "inputs": {"type": "objekt"}}, "/config/inputs/type"),
    ({"steps": [A], "inputs": {"$ref": "http://elsewhere/x"}}, "/config/inputs/$ref"),
    ({"steps": [A], "inputs": {"properties": {"x": {"pattern": "(?=x)"}}}}, "/config/inputs/properties/x/pattern"),
    ({"steps": [A], "inputs": {"patternProperties": {}}}, "/config/inputs/patternProperties"),
    ({"steps": [A], "output": "${{ steps.b.output }}"}, "/config/output"),
    ({"steps": [A], "output": {"x": ["${{ 1 + }}"]}}, "/config/output/x/0"),
    ({"steps": [A], "output": "${{ inputs.m }}", "inputs": SCHEMA | {"additionalProperties": False}}, "/config/output"),
]
FIELDS: list[tuple[Json, str]] = [
    ({"steps": [{"uses": "transform"}]}, f"{S}/id"),
    (one(id=""), f"{S}/id"),
    (one(id=7), f"{S}/id"),
    (one(id="with space"), f"{S}/id"),
    (one(id="7th"), f"{S}/id"),
    (one(id="a" * 65), f"{S}/id"),
    (one(id="$output"), f"{S}/id"),
    (one(id="a~undo"), f"{S}/id"),
    (one(id="a[0]"), f"{S}/id"),
    (two(id="a"), "/config/steps/1/id"),
    ({"steps": [{"id": "a"}]}, f"{S}/uses"),
    (one(uses="shell"), f"{S}/uses"),
    (one(uses="Transform"), f"{S}/uses"),
    (one(uses=None), f"{S}/uses"),
    (one(use="x"), f"{S}/use"),
    (one(need=["a"]), f"{S}/need"),
    (one(persona="hera"), f"{S}/persona"),
    (one(step={}), f"{S}/step"),
    (one(**{"with": []}), W),
    (one(needs=5), f"{S}/needs"),
    (one(needs=["b"]), f"{S}/needs/0"),
    (one(needs=[1]), f"{S}/needs/0"),
    (two(needs=["a", "a"]), "/config/steps/1/needs/1"),
    (one(needs=["a"]), f"{S}/needs/0"),
    ({"steps": [A | {"needs": ["b"]}, {"id": "b", "uses": "transform", "needs": ["a"]}]}, "/config/steps/1/needs/0"),
    (one(**{"if": True}), f"{S}/if"),
    (one(**{"if": "1 + 1"}), f"{S}/if"),
    (one(**{"if": "steps.b.output"}), f"{S}/if"),
    (one(**{"if": "nothing"}), f"{S}/if"),
    (one(**{"if": "true &&"}), f"{S}/if"),
    (one(timeout=5), f"{S}/timeout"),
    (one(timeout="soon"), f"{S}/timeout"),
    (one(timeout="0s"), f"{S}/timeout"),
    (one(timeout="400d"), f"{S}/timeout"),
    (one(retry=3), f"{S}/retry"),
    (one(retry={"max_attempts": 0}), f"{S}/retry/max_attempts"),
    (one(retry={"max_attempts": "3"}), f"{S}/retry/max_attempts"),
    (one(retry={"initial": 1}), f"{S}/retry/initial"),
    (one(retry={"factor": 0.5}), f"{S}/retry/factor"),
    (one(retry={"jitter": 2}), f"{S}/retry/jitter"),
    (one(retry={"times": 3}), f"{S}/retry/times"),
    (one(on_error="ignore"), f"{S}/on_error"),
    (one(on_error=True), f"{S}/on_error"),
    (one(at_most_once="yes"), f"{S}/at_most_once"),
    (one(compensate="memory.store"), f"{S}/compensate"),
    (one(compensate={"with": {}}), f"{S}/compensate/uses"),
    (one(compensate={"uses": "transform", "needs": []}), f"{S}/compensate/needs"),
    (one(compensate={"uses": "transform", "if": "true"}), f"{S}/compensate/if"),
    (one(compensate={"uses": "transform", "compensate": {}}), f"{S}/compensate/compensate"),
    (one(compensate={"uses": "map", "with": {"over": []}}), f"{S}/compensate/uses"),
    (one(compensate={"uses": "transform", "with": {"x": "${{ steps.z.output }}"}}), f"{S}/compensate/with/x"),
    (one(compensate={"uses": "delay", "with": {}}), f"{S}/compensate/with"),
]
EXPRESSIONS: list[tuple[Json, str]] = [
    (one(**{"with": {"x": "${{ }}"}}), f"{W}/x"),
    (one(**{"with": {"x": "${{ 1"}}), f"{W}/x"),
    (one(**{"with": {"x": {"y": ["${{ oops }}"]}}}), f"{W}/x/y/0"),
    (one(**{"with": {"x": "${{ steps.a.output }}"}}), f"{W}/x"),
    (two(**{"with": {"x": "${{ steps.a.output }}"}}), "/config/steps/1/with/x"),
    (two(needs=["a"], **{"with": {"x": "${{ steps.a.result }}"}}), "/config/steps/1/with/x"),
    (one(**{"with": {"x": "${{ steps }}"}}), f"{W}/x"),
    (one(**{"with": {"x": "${{ item }}"}}), f"{W}/x"),
    (one(**{"with": {"x": "${{ index }}"}}), f"{W}/x"),
    (one(**{"with": {"x": "${{ execution.secret }}"}}), f"{W}/x"),
]
KINDS: list[tuple[Json, str]] = [
    (kind("delay"), W),
    (kind("delay", {"duration": "1s", "until": "2030-01-01T00:00:00Z"}), W),
    (kind("delay", {"duration": "soon"}), f"{W}/duration"),
    (kind("delay", {"until": "2030-01-01T00:00:00"}), f"{W}/until"),
    (kind("memory.search"), f"{W}/query"),
    (kind("memory.search", {"query": 7}), f"{W}/query"),
    (kind("memory.store", {"content": "x", "colour": "red"}), f"{W}/colour"),
    (kind("task"), f"{W}/title"),
    (kind("task", {"title": "x", "labels": "red"}), f"{W}/labels"),
    (kind("http", {"method": "GET"}), f"{W}/url"),
    (kind("http", {"method": "BREW", "url": "https://a.example"}), f"{W}/method"),
    (kind("http", {"method": "GET", "url": "ftp://a.example"}), f"{W}/url"),
    (kind("http", {"method": "GET", "url": "https://user:secret@a.example"}), f"{W}/url"),
    (kind("http", {"method": "POST", "url": "https://a.example", "json": {}, "body": "x"}), f"{W}/body"),
    (kind("agent", {"context": "x"}, persona="muses"), f"{W}/instructions"),
    (kind("agent", {"instructions": "x"}, persona=7), f"{S}/persona"),
    (kind("agent", {"instructions": "x"}), f"{S}/persona"),
    (kind("agent", {"instructions": "x"}, persona="muses", output_schema={"type": "text"}), f"{S}/output_schema/type"),
    (kind("agent", {"instructions": "x", "due_in": "soon"}, persona="muses"), f"{W}/due_in"),
    (kind("approval"), f"{W}/prompt"),
    (kind("approval", {"prompt": "Go?", "approvers": "hera"}), f"{W}/approvers"),
    (kind("approval", {"prompt": "Go?", "expires_in": "soon"}), f"{W}/expires_in"),
    (kind("signal"), f"{W}/name"),
    (kind("signal", {"name": "with space"}), f"{W}/name"),
    (kind("workflow"), W),
    (kind("workflow", {"name": "x", "workflow_id": ID}), W),
    (kind("workflow", {"workflow_id": "x"}), f"{W}/workflow_id"),
    (kind("workflow", {"name": "x", "priority": "later"}), f"{W}/priority"),
    (kind("map", {"over": []}), f"{S}/step"),
    (each("transform"), f"{S}/step"),
    (each({}), f"{S}/step/uses"),
    (each({"uses": "map", "with": {"over": []}}), f"{S}/step/uses"),
    (each({"uses": "transform", "needs": []}), f"{S}/step/needs"),
    (each({"uses": "transform", "id": "x"}), f"{S}/step/id"),
    (each({"uses": "transform", "compensate": {"uses": "transform"}}), f"{S}/step/compensate"),
    (each({"uses": "transform", "with": {"x": "${{ itm }}"}}), f"{S}/step/with/x"),
    (each({"uses": "delay", "with": {}}), f"{S}/step/with"),
    (each({"uses": "transform"}, over="abc"), f"{W}/over"),
    (each({"uses": "transform"}, concurrency=0), f"{W}/concurrency"),
    (each({"uses": "transform"}, max_items=10_001), f"{W}/max_items"),
    (each({"uses": "transform"}, over="${{ item }}"), f"{W}/over"),
]
DAGS = WHOLE + FIELDS + EXPRESSIONS + KINDS


@pytest.mark.parametrize(("config", "pointer"), DAGS, ids=[pointer for _, pointer in DAGS])
def test_definition_that_cannot_run_is_refused_where_it_is_wrong(config: Json, pointer: str) -> None:
    with pytest.raises(DefinitionInvalid) as caught:
        plan_workflow(WorkflowType.DAG, config)
    assert {problem.pointer for problem in caught.value.errors} == {pointer}
    assert all(problem.detail for problem in caught.value.errors)


@pytest.mark.parametrize("workflow_type", [WorkflowType.SEQUENTIAL, WorkflowType.PARALLEL])
def test_only_a_dag_says_what_a_step_needs(workflow_type: WorkflowType) -> None:
    with pytest.raises(DefinitionInvalid) as caught:
        plan_workflow(workflow_type, two(needs=["a"]))
    assert [problem.pointer for problem in caught.value.errors] == ["/config/steps/1/needs"]


def test_the_table_holds_a_hundred() -> None:
    assert len(DAGS) >= 100


def test_all_problems_of_a_definition_are_told_at_once() -> None:
    wrong = {"steps": [{"id": "a", "uses": "shell", "retry": {"factor": 0}, "on_error": 1, "timeout": "x"}], "x": 1}
    with pytest.raises(DefinitionInvalid) as caught:
        plan_workflow(WorkflowType.DAG, wrong)
    pointers = {problem.pointer for problem in caught.value.errors}
    assert pointers == {"/config/x", f"{S}/uses", f"{S}/retry/factor", f"{S}/on_error", f"{S}/timeout"}
