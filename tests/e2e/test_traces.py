"""One trace runs through every part that a request touches."""

import uuid

import pytest

from support.workflows import execute, save_workflow, wait_for_end


def trace_of(answer):
    return answer.headers["traceparent"].split("-")[1]


@pytest.fixture
def storing(api, spans):
    """The spans of one stored memory."""
    answer = api.post("/api/v1/memory/store", json={"content": f"Traced {uuid.uuid4()}"})
    return spans.wait_for(trace_of(answer), {"tmws-gateway", "tmws-memory", "tmws-embedding"})


def test_storing_a_memory_is_one_trace_through_three_services(storing):
    assert {"tmws-gateway", "tmws-memory", "tmws-embedding"} <= {span.service for span in storing}


def test_the_trace_shows_postgres(storing):
    assert any(span.service == "tmws-memory" and span.database == "postgresql" for span in storing)


def test_the_trace_shows_redis(storing):
    assert "redis" in {span.database for span in storing}


def test_every_span_hangs_on_another_one(storing):
    known = {span.span_id for span in storing}
    roots = [span for span in storing if span.parent_id not in known]
    assert [span.service for span in roots] == ["tmws-gateway"]


def test_the_trace_of_an_execution_goes_on_in_the_worker(api, spans):
    step = {"id": "keep", "uses": "memory.store", "with": {"content": f"Traced {uuid.uuid4()}"}}
    workflow_id = save_workflow(api, step)
    answer = api.post(f"/api/v1/workflows/{workflow_id}/execute", json={})
    wait_for_end(api, answer.json()["execution_id"])
    wanted = {"tmws-gateway", "tmws-workflow", "tmws-workflow-worker", "tmws-memory", "tmws-embedding"}
    assert wanted <= {span.service for span in spans.wait_for(trace_of(answer), wanted)}


def test_a_callers_trace_is_carried_on(api, spans):
    trace_id = uuid.uuid4().hex
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    api.get("/api/v1/personas", headers=headers)
    assert "tmws-persona" in {span.service for span in spans.wait_for(trace_id, {"tmws-gateway", "tmws-persona"})}


async def test_a_trace_begins_at_the_bridge(stack, spans):
    tracing = {"OTEL_EXPORTER_OTLP_ENDPOINT": spans.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    async with stack.bridge(tracing) as client:
        await client.call_tool("semantic_search", {"query": "what is traced?"})
    wanted = {"tmws-mcp-bridge", "tmws-gateway", "tmws-memory"}
    trace_id = spans.named("tmws-mcp-bridge", "tools/call")[0].trace_id
    assert wanted <= {span.service for span in spans.wait_for(trace_id, wanted)}


def test_executions_have_traces_of_their_own(api):
    workflow_id = save_workflow(api, {"id": "nothing", "uses": "transform", "with": {}})
    first, second = (
        api.post(f"/api/v1/workflows/{workflow_id}/execute", json={}).headers["traceparent"] for _ in range(2)
    )
    assert first != second
    wait_for_end(api, execute(api, workflow_id))
