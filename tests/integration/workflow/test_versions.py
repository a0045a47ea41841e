"""The versions of a workflow."""

from typing import Any

from support.workflow_engine import WORKFLOWS, Engine

Json = dict[str, Any]


def steps(count: int) -> list[Json]:
    return [{"id": f"s{number}", "uses": "transform", "with": {"x": number}} for number in range(count)]


async def workflow_of_three_versions(engine: Engine) -> str:
    workflow_id = await engine.save(*steps(1))
    for count in (2, 3):
        answer = await engine.api.call("PUT", f"{WORKFLOWS}/{workflow_id}", json={"config": {"steps": steps(count)}})
        assert answer.status_code == 200, answer.text
    await engine.api.call("PUT", f"{WORKFLOWS}/{workflow_id}", json={"name": "no new version"})
    return workflow_id


async def test_versions_are_listed_newest_first(engine: Engine) -> None:
    path = f"{WORKFLOWS}/{await workflow_of_three_versions(engine)}/versions"
    first = (await engine.api.call("GET", path, params={"limit": 2})).json()
    second = (await engine.api.call("GET", path, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    found = first["items"] + second["items"]
    assert [(item["version"], item["is_current"]) for item in found] == [(3, True), (2, False), (1, False)]
    assert second["next_cursor"] is None


async def test_each_version_keeps_its_definition(engine: Engine) -> None:
    path = f"{WORKFLOWS}/{await workflow_of_three_versions(engine)}/versions"
    found = [(await engine.api.call("GET", f"{path}/{number}")).json() for number in (1, 2, 3)]
    assert [len(version["config"]["steps"]) for version in found] == [1, 2, 3]


async def test_version_that_is_not_there(engine: Engine) -> None:
    workflow_id = await workflow_of_three_versions(engine)
    path = f"{WORKFLOWS}/{workflow_id}/versions"
    assert (await engine.api.call("GET", f"{path}/4")).status_code == 404
    assert (await engine.api.call("GET", f"{path}/0")).status_code == 422
    assert (await engine.api.call("GET", f"{path}/1", namespace="others")).status_code == 404
    assert (await engine.api.call("GET", path, namespace="others")).status_code == 404


async def test_execution_runs_the_version_it_was_started_with(engine: Engine) -> None:
    workflow_id = await engine.save(*steps(1))
    execution_id = await engine.execute(workflow_id)
    await engine.api.call("PUT", f"{WORKFLOWS}/{workflow_id}", json={"config": {"steps": steps(2)}})
    async with engine.worker():
        ended = await engine.ended(execution_id)
    assert (ended["workflow_version"], len(ended["steps"])) == (1, 1)
