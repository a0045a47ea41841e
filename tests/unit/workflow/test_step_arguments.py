"""What http, agent, approval and signal steps cannot be given is refused when the workflow is saved."""

import json

import pytest

from tmws_contracts.workflow import WorkflowType
from tmws_workflow.errors import DefinitionInvalid
from tmws_workflow.validation import plan_workflow


def pointers_of(step):
    with pytest.raises(DefinitionInvalid) as caught:
        plan_workflow(WorkflowType.DAG, {"steps": [{"id": "a", **step}]})
    return [problem.pointer.removeprefix("/config/steps/0/") for problem in caught.value.errors]


BAD_REQUESTS = [
    ({"url": "ftp://example.com/"}, "url"),
    ({"url": "http://user:pw@example.com/"}, "url"),
    ({"method": "TRACE"}, "method"),
    ({"method": 7}, "method"),
    ({"url": 7}, "url"),
    ({"headers": []}, "headers"),
    ({"query": "a=b"}, "query"),
    ({"expect_status": "2xx"}, "expect_status"),
    ({"max_bytes": "1k"}, "max_bytes"),
    ({"headers": {"Host": "x"}}, "headers"),
    ({"headers": {"Idempotency-Key": "x"}}, "headers"),
    ({"headers": {"a b": "x"}}, "headers"),
    ({"headers": {"A": "x", "a": "y"}}, "headers"),
    ({"headers": {"A": "x\r\nB: y"}}, "headers"),
    ({"headers": {"A": 7}}, "headers"),
    ({"headers": {"A": {"secret": "X", "suffix": ""}}}, "headers"),
    ({"headers": {"A": {"prefix": "X"}}}, "headers"),
    ({"query": {"a": {"b": 1}}}, "query"),
    ({"query": {"a": None}}, "query"),
    ({"expect_status": []}, "expect_status"),
    ({"expect_status": 42}, "expect_status"),
    ({"expect_status": [True]}, "expect_status"),
    ({"max_bytes": 0}, "max_bytes"),
    ({"max_bytes": 6_000_000}, "max_bytes"),
    ({"json": {}, "body": ""}, "body"),
    ({"timeout": "5s"}, "timeout"),
]


@pytest.mark.parametrize(("arguments", "member"), BAD_REQUESTS, ids=json.dumps)
def test_request_that_cannot_be_sent_is_refused(arguments, member):
    step = {"uses": "http", "with": {"url": "https://example.com/", **arguments}}
    assert pointers_of(step) == [f"with/{member}"]


GOOD_REQUESTS = [
    {"url": "${{ execution.id }}"},
    {"headers": {"A": "${{ execution.id }}", "B": {"secret": "X", "prefix": "Bearer "}, "C": {"secret": "X"}}},
    {"headers": "${{ {'a': 'b'} }}"},
    {"query": {"a": ["x", 1, 2.5, True, "${{ execution.id }}"]}},
    {"expect_status": 404},
    {"expect_status": [200, 404]},
    {"json": None},
    {"json": [True, "text with ${{ execution.id }} in it"]},
    {"method": "DELETE", "max_bytes": 1},
]


@pytest.mark.parametrize("arguments", GOOD_REQUESTS, ids=json.dumps)
def test_request_that_can_be_sent_is_taken(arguments):
    step = {"id": "a", "uses": "http", "with": {"url": "https://example.com/", **arguments}}
    assert plan_workflow(WorkflowType.DAG, {"steps": [step]}).steps["a"].uses == "http"


ASK = {"prompt": "Publish?"}


@pytest.mark.parametrize(
    ("arguments", "member"),
    [
        ({}, "prompt"),
        ({"prompt": " "}, "prompt"),
        ({"prompt": "x" * 5000}, "prompt"),
        ({"prompt": 7}, "prompt"),
        (ASK | {"approvers": "muses"}, "approvers"),
        (ASK | {"expires_in": 7}, "expires_in"),
        (ASK | {"approvers": []}, "approvers"),
        (ASK | {"approvers": ["Not A Slug"]}, "approvers"),
        (ASK | {"expires_in": "soon"}, "expires_in"),
        (ASK | {"expires_in": "0s"}, "expires_in"),
        (ASK | {"allow_self": "no"}, "allow_self"),
        (ASK | {"show": "a\0b"}, "show"),
        (ASK | {"timeout": "1h"}, "timeout"),
    ],
    ids=str,
)
def test_question_that_cannot_be_asked_is_refused(arguments, member):
    assert pointers_of({"uses": "approval", "with": arguments}) == [f"with/{member}"]


@pytest.mark.parametrize("name", ["", "a b", "a:b", "1a", "x" * 65, "a\n", 7])
def test_name_that_no_signal_has_is_refused(name):
    assert pointers_of({"uses": "signal", "with": {"name": name}}) == ["with/name"]


DRAFT = {"uses": "agent", "persona": "muses", "with": {"instructions": "Draft it"}}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"output_schema": []}, "output_schema"),
        ({"output_schema": {"properties": {"a": {"type": "x"}}}}, "output_schema/properties/a/type"),
        ({"output_schema": {"$ref": "https://example.com/"}}, "output_schema/$ref"),
        ({"persona": 7}, "persona"),
        ({"persona": "No Slug"}, "persona"),
        ({"personas": ["x"]}, "personas"),
        ({"with": {}}, "with/instructions"),
        ({"with": {"instructions": "x", "due_in": "soon"}}, "with/due_in"),
        ({"with": {"instructions": "x", "description": "y"}}, "with/description"),
    ],
    ids=str,
)
def test_step_no_agent_could_be_given_is_refused(change, pointer):
    assert pointers_of(DRAFT | change) == [pointer]


def test_step_for_nobody_in_particular_is_refused():
    assert pointers_of({"uses": "agent", "with": {"instructions": "x"}}) == ["persona"]
