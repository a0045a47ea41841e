"""Parts of the stack are killed while it works; nothing that was accepted is lost or done twice."""

import threading
import time
import uuid
from collections import Counter

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


def test_a_killed_worker_is_replaced_and_no_step_runs_twice(stack, api):
    marker = str(uuid.uuid4())
    pause = {"id": "pause", "uses": "delay", "needs": ["keep_3"], "with": {"duration": "200ms"}}
    steps = storing_steps(marker)
    steps[4]["needs"] = ["pause"]
    execution_id = execute(api, save_workflow(api, *steps, pause))
    wait_for_step(api, execution_id, "keep_3", "completed")
    stack.kill("workflow-worker")
    execution = wait_for_end(api, execution_id)
    kept = api.get("/api/v1/memory/recall", params={"tags": marker}).json()["items"]
    assert execution["status"] == "completed"
    assert [memory["store_count"] for memory in kept] == [1] * STEPS


def test_the_journal_of_a_disturbed_execution_is_whole(stack, api):
    execution_id = execute(api, save_workflow(api, *storing_steps(str(uuid.uuid4()))))
    wait_for_step(api, execution_id, "keep_1", "completed")
    stack.kill("workflow-worker")
    wait_for_end(api, execution_id)
    events = journal(api, execution_id)
    completed = Counter(event["step"] for event in events if event["type"] == "step.completed")
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert completed == {f"keep_{number}": 1 for number in range(STEPS)}


def test_nothing_accepted_is_lost_when_postgres_is_killed(stack, api):
    writer = write_while(stack, lambda: stack.kill("postgres"))
    assert writer.statuses == {201, 503}
    assert missing(api, writer.accepted) == []


def test_who_comes_while_postgres_is_down_is_told_when_to_come_again(stack):
    writer = write_while(stack, lambda: stack.kill("postgres"))
    refused = [answer for answer in writer.answers if answer.status_code == 503]
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert refused


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
