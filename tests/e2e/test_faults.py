"""Parts of the stack are killed while it works; nothing that was accepted is lost or done twice."""

import threading
import time
import uuid
from collections import Counter

import pytest

from support.workflows import execute, journal, save_workflow, wait_for_end, wait_for_step

STEPS = 8


class Writer:
    """Creates tasks one after the other, and keeps every answer."""

    def __init__(self, stack):
        self.answers = []
        self._stack = stack
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self._thread.join()

    def _write(self):
        with self._stack.client() as client:
            while not self._stopped.is_set():
                self.answers.append(client.post("/api/v1/tasks", json={"title": str(uuid.uuid4())}))
                time.sleep(0.01)

    @property
    def statuses(self):
        return {answer.status_code for answer in self.answers}

    @property
    def accepted(self):
        return [answer.json()["id"] for answer in self.answers if answer.status_code == 201]


def write_while(stack, disturb):
    with Writer(stack) as writer:
        time.sleep(0.5)
        disturb()
        time.sleep(1.0)
        stack.wait_until_healthy()
        time.sleep(0.5)
    return writer


def missing(api, ids):
    return [task_id for task_id in ids if api.get(f"/api/v1/tasks/{task_id}").status_code != 200]


def storing_steps(marker):
    return [
        {
            "id": f"keep_{number}",
            "uses": "memory.store",
            "needs": [f"keep_{number - 1}"] if number else [],
            "with": {"content": f"{marker} {number}", "tags": [marker]},
        }
        for number in range(STEPS)
    ]


@pytest.fixture(scope="module")
def disturbed(shared_stack):
    """An execution whose worker was killed in the middle: itself, what it kept, its journal."""
    marker = str(uuid.uuid4())
    with shared_stack.client() as api:
        execution_id = execute(api, save_workflow(api, *storing_steps(marker)))
        wait_for_step(api, execution_id, "keep_1", "completed")
        shared_stack.kill("workflow-worker")
        execution = wait_for_end(api, execution_id)
        kept = api.get("/api/v1/memory/recall", params={"tags": marker}).json()["items"]
        return execution, kept, journal(api, execution_id)


def test_an_execution_completes_although_its_worker_was_killed(disturbed):
    execution, _, _ = disturbed
    assert execution["status"] == "completed"
    assert {step["status"] for step in execution["steps"]} == {"completed"}


def test_the_worker_was_killed_in_the_middle(disturbed):
    _, _, events = disturbed
    assert "step.lease_lost" in {event["type"] for event in events}


def test_no_step_of_a_killed_worker_took_effect_twice(disturbed):
    _, kept, _ = disturbed
    assert [memory["store_count"] for memory in kept] == [1] * STEPS


def test_no_step_of_a_killed_worker_completes_twice(disturbed):
    _, _, events = disturbed
    completed = Counter(event["step"] for event in events if event["type"] == "step.completed")
    assert completed == {f"keep_{number}": 1 for number in range(STEPS)}


def test_the_journal_of_a_disturbed_execution_has_no_gaps(disturbed):
    _, _, events = disturbed
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


@pytest.fixture(scope="module")
def written_while_postgres_died(shared_stack):
    """What a writer was answered while Postgres was killed and came back."""
    return write_while(shared_stack, lambda: shared_stack.kill("postgres"))


def test_without_postgres_writes_are_put_off(written_while_postgres_died):
    assert written_while_postgres_died.statuses == {201, 503}


def test_nothing_accepted_is_lost_when_postgres_is_killed(written_while_postgres_died, api):
    assert missing(api, written_while_postgres_died.accepted) == []


def test_who_comes_while_postgres_is_down_is_told_when_to_come_again(written_while_postgres_died):
    refused = [answer for answer in written_while_postgres_died.answers if answer.status_code == 503]
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)


def test_nothing_accepted_is_lost_when_redis_is_killed(stack, api):
    writer = write_while(stack, lambda: stack.kill("redis"))
    assert writer.statuses <= {201, 503}
    assert missing(api, writer.accepted) == []


def test_a_workflow_ends_although_redis_was_killed(stack, api):
    label = str(uuid.uuid4())
    workflow_id = save_workflow(api, {"id": "ask", "uses": "task", "with": {"title": "Ask", "labels": [label]}})
    execution_id = execute(api, workflow_id)
    wait_for_step(api, execution_id, "ask", "waiting")
    stack.kill("redis")
    task = api.get("/api/v1/tasks", params={"label": label}).json()["items"][0]
    api.post(f"/api/v1/tasks/{task['id']}/complete", json={"result": {}})
    assert wait_for_end(api, execution_id)["status"] == "completed"


def test_a_killed_service_comes_back(stack, api):
    stack.kill("task")
    stack.wait_until_healthy()
    assert api.get("/api/v1/tasks").status_code == 200
