"""An http step asks the outside and keeps the answer."""

import asyncio
import base64
import json
import time
from email.utils import formatdate
from urllib.parse import parse_qs

import pytest

from support.web import Answer, Asked, json_page, moved, page, website
from support.workflow_engine import Engine, step_of

SECRET = "s3cret-token-of-the-operator"
QUICKLY = {"max_attempts": 3, "initial": "10ms", "jitter": 0}


def secrets_for(host: str, **fields) -> str:
    return json.dumps({"KEY": {"value": SECRET, "hosts": [host], **fields}})


async def ask(engine: Engine, handler, path: str = "/", retry=QUICKLY, settings=None, **arguments):
    """Run one http step against a site with this handler; return the step and what the site was asked."""
    async with website(handler) as site:
        given = {"workflow_http_allow": f"127.0.0.1:{site.port}", **(settings or {})}
        async with engine.worker(**given):
            url = f"http://127.0.0.1:{site.port}{path}"
            step = {"id": "ask", "uses": "http", "with": {"url": url, **arguments}, "retry": retry}
            execution = await engine.run(step)
    return step_of(execution, "ask"), site.asked


async def test_json_answer_is_parsed(engine: Engine):
    step, asked = await ask(
        engine, lambda asked: json_page(b'{"items": [1, 2.5, null]}', "X-Total: 3"), path="/items?a=1"
    )
    assert step["status"] == "completed"
    assert (step["output"]["status"], step["output"]["body"]) == (200, {"items": [1, 2.5, None]})
    assert step["output"]["headers"]["x-total"] == "3"
    assert (asked[0].method, asked[0].target) == ("GET", "/items?a=1")


async def test_request_carries_what_the_step_says_and_the_key_of_its_effect(engine: Engine):
    step, asked = await ask(
        engine,
        lambda asked: page(b"done", status="201 Created"),
        path="/items?a=1",
        method="POST",
        query={"tag": ["x", "y"], "n": 3, "is_new": True},
        headers={"X-Kind": "test"},
        json={"b": 1, "a": [None, "ü"]},
    )
    request = asked[0]
    assert (request.method, request.target.partition("?")[0]) == ("POST", "/items")
    query = parse_qs(request.target.partition("?")[2])
    assert query == {"a": ["1"], "tag": ["x", "y"], "n": ["3"], "is_new": ["true"]}
    assert json.loads(request.body) == {"b": 1, "a": [None, "ü"]}
    assert (request.headers["x-kind"], request.headers["content-type"]) == ("test", "application/json")
    assert request.headers["idempotency-key"].endswith(":ask")
    assert (step["output"]["status"], step["output"]["body"], step["output"]["is_base64"]) == (201, "done", False)


async def test_answer_that_is_no_text_is_kept_in_base64(engine: Engine):
    step, _ = await ask(engine, lambda asked: page(b"\x89PNG\0"))
    assert (base64.b64decode(step["output"]["body"]), step["output"]["is_base64"]) == (b"\x89PNG\0", True)


async def test_empty_answer_has_no_body(engine: Engine):
    step, _ = await ask(engine, lambda asked: b"HTTP/1.1 204 No Content\r\n\r\n", method="DELETE")
    assert (step["output"]["status"], step["output"]["body"]) == (204, None)


@pytest.mark.parametrize("status", ["400 Bad", "404 Missing"])
async def test_status_that_will_not_change_fails_the_step_at_once(engine: Engine, status):
    step, asked = await ask(engine, lambda asked: json_page(b'{"why": "no"}', status=status))
    assert (step["status"], len(asked)) == ("failed", 1)
    assert (step["error"]["code"], step["error"]["status"]) == ("status", int(status[:3]))
    assert step["error"]["problem"] == {"why": "no"}


@pytest.mark.parametrize("status", ["408 x", "429 x", "503 x"])
async def test_status_that_may_change_is_asked_for_again(engine: Engine, status):
    answers = iter([page(status=status), page(status=status), page(b"now")])
    step, asked = await ask(engine, lambda asked: next(answers))
    assert (step["output"]["body"], len(asked)) == ("now", 3)
    assert len({each.headers["idempotency-key"] for each in asked}) == 1


@pytest.mark.parametrize("is_date", [False, True])
async def test_retry_after_is_honoured(engine: Engine, is_date: bool):
    times: list[float] = []

    def busy_once(asked: Asked) -> Answer:
        times.append(time.monotonic())
        given = formatdate(time.time() + 2, usegmt=True) if is_date else "1"
        return page(b"now") if len(times) > 1 else page(b"", f"Retry-After: {given}", status="503 Busy")

    step, _ = await ask(engine, busy_once)
    assert step["output"]["body"] == "now"
    assert times[1] - times[0] >= 0.95


async def test_broken_connection_is_tried_again(engine: Engine):
    answers = iter([None, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nha", page(b"whole")])
    step, asked = await ask(engine, lambda asked: next(answers))
    assert (step["output"]["body"], len(asked)) == ("whole", 3)


async def test_server_that_is_not_there_fails_the_step_in_the_end(engine: Engine):
    async with website(lambda asked: page()) as gone:
        port = gone.port
    async with engine.worker(workflow_http_allow=f"127.0.0.1:{port}"):
        step = {"id": "ask", "uses": "http", "with": {"url": f"http://127.0.0.1:{port}/"}, "retry": QUICKLY}
        execution = await engine.run(step)
    assert (execution["error"]["code"], step_of(execution, "ask")["attempt"]) == ("unreachable", 3)


async def test_expected_status_is_no_failure(engine: Engine):
    step, _ = await ask(engine, lambda asked: page(status="404 Missing"), expect_status=[200, 404])
    assert step["output"]["status"] == 404


async def test_expected_redirect_is_not_followed(engine: Engine):
    step, asked = await ask(engine, lambda asked: moved("/there"), expect_status=302)
    assert (step["output"]["headers"]["location"], len(asked)) == ("/there", 1)


async def test_redirect_is_followed(engine: Engine):
    step, _ = await ask(engine, lambda asked: page(b"there") if asked.target == "/there" else moved("there"))
    assert step["output"]["body"] == "there"


async def test_inside_is_refused_and_not_tried_again(engine: Engine):
    async with website(lambda asked: page(b"metadata")) as site, engine.worker():
        step = {"id": "ask", "uses": "http", "with": {"url": f"http://localhost:{site.port}/"}, "retry": QUICKLY}
        execution = await engine.run(step)
    assert (execution["error"]["code"], step_of(execution, "ask")["attempt"]) == ("target_refused", 1)
    assert site.asked == []


async def test_answer_larger_than_the_step_takes_is_refused(engine: Engine):
    step, asked = await ask(engine, lambda asked: page(b"x" * 1001), max_bytes=1000)
    assert (step["error"]["code"], len(asked)) == ("too_large", 1)


@pytest.mark.parametrize("body", [b"{", b'{"a": "\\u0000"}', b"[" * 100 + b"]" * 100])
async def test_json_that_cannot_be_kept_fails_the_step(engine: Engine, body):
    step, _ = await ask(engine, lambda asked: json_page(body))
    assert step["error"]["code"] == "unreadable"


async def test_slow_server_is_left_at_the_deadline_of_the_request(engine: Engine):
    retry = {"max_attempts": 1}
    step, _ = await ask(engine, lambda asked: b"", retry=retry, settings={"workflow_http_timeout_seconds": 1})
    assert step["error"]["code"] == "unanswered"


async def test_running_request_of_a_cancelled_execution_is_broken_off(engine: Engine):
    async with website(lambda asked: b"") as site, engine.worker(workflow_http_allow=f"127.0.0.1:{site.port}"):
        workflow = await engine.save({"id": "ask", "uses": "http", "with": {"url": f"http://127.0.0.1:{site.port}/"}})
        execution_id = await engine.execute(workflow)
        while not site.asked:
            await asyncio.sleep(0.02)
        await engine.api.call("POST", f"/api/v1/workflows/{workflow}/cancel")
        async with asyncio.timeout(5):
            await site.has_hung_up.wait()
        execution = await engine.ended(execution_id)
    assert execution["status"] == "cancelled"


async def test_secret_is_sent_and_kept_nowhere(engine: Engine):
    def echo(asked: Asked) -> Answer:
        told = json.dumps({"you sent": asked.headers["authorization"], SECRET: [SECRET]}).encode()
        return json_page(told, f"X-Echo: {SECRET}", f"Set-Cookie: session={SECRET}")

    reference = {"authorization": {"secret": "KEY", "prefix": "Bearer "}}
    settings = {"workflow_secrets": secrets_for("127.0.0.1")}
    step, asked = await ask(engine, echo, headers=reference, settings=settings)
    assert asked[0].headers["authorization"] == f"Bearer {SECRET}"
    assert step["output"]["body"] == {"you sent": "Bearer [redacted]", "[redacted]": ["[redacted]"]}
    assert "set-cookie" not in step["output"]["headers"]
    assert await _traces(engine) == []


async def test_secret_in_a_refusal_is_kept_nowhere(engine: Engine):
    def refuse(asked: Asked) -> Answer:
        return json_page(json.dumps({"bad": asked.headers["x-key"]}).encode(), status="403 No")

    settings = {"workflow_secrets": secrets_for("127.0.0.1")}
    step, _ = await ask(engine, refuse, headers={"X-Key": {"secret": "KEY"}}, settings=settings)
    assert step["error"]["problem"] == {"bad": "[redacted]"}
    assert await _traces(engine) == []


async def _traces(engine: Engine):
    return await engine.sql(
        """SELECT 'step' FROM step_executions s WHERE s::text LIKE $1 UNION ALL
           SELECT 'event' FROM events e WHERE e::text LIKE $1 UNION ALL
           SELECT 'execution' FROM executions x WHERE x::text LIKE $1""",
        f"%{SECRET}%",
    )


@pytest.mark.parametrize("limits", [{"host": "api.example.com"}, {"host": "127.0.0.1", "namespaces": ["other"]}])
async def test_secret_is_not_sent_where_it_is_not_for(engine: Engine, limits):
    settings = {"workflow_secrets": secrets_for(**limits)}
    step, asked = await ask(engine, lambda asked: page(), headers={"X-Key": {"secret": "KEY"}}, settings=settings)
    assert (step["error"]["code"], asked) == ("secret", [])
    assert SECRET not in step["error"]["message"]


async def test_secret_stays_behind_when_another_host_answers_for_the_first(engine: Engine):
    second = website(lambda asked: page(b"there"))
    async with second as there, website(lambda asked: moved(f"http://127.0.0.1:{there.port}/")) as site:
        allow = f"127.0.0.1:{site.port},127.0.0.1:{there.port}"
        async with engine.worker(workflow_http_allow=allow, workflow_secrets=secrets_for("127.0.0.1")):
            given = {"url": f"http://127.0.0.1:{site.port}/", "headers": {"X-Key": {"secret": "KEY"}}}
            execution = await engine.run({"id": "ask", "uses": "http", "with": given})
    assert execution["status"] == "completed"
    assert site.asked[0].headers["x-key"] == SECRET
    assert "x-key" not in there.asked[0].headers


@pytest.mark.parametrize(
    ("arguments", "member"),
    [
        ({"headers": {"A": "x\r\nB: y"}}, "headers"),
        ({"query": {"a": {"b": 1}}}, "query"),
        ({"max_bytes": "many"}, "max_bytes"),
    ],
)
async def test_request_that_turns_out_so_fails_its_step(engine: Engine, arguments, member):
    given = {"url": "https://example.com/", **arguments}
    step = {"id": "ask", "uses": "http", "with": {name: f"${{{{ inputs.given.{name} }}}}" for name in given}}
    async with engine.worker():
        workflow = await engine.save(step, inputs={"type": "object", "properties": {"given": {}}})
        execution = await engine.ended(await engine.execute(workflow, given=given))
    assert execution["error"]["code"] == "argument"
    assert f"/with/{member}:" in execution["error"]["message"]
