"""Second part: tasks that depend on each other."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from tmws_local.demo.api import Api, DemoFailed, cleaning
from tmws_local.demo.screen import Screen

LABEL = "tmws-demo"
# name, title, persona, needs: a diamond with a tail on each side
_GRAPH = (
    ("survey", "Survey what the release changes", "athena", ()),
    ("speed", "Measure what has become slower", "artemis", ("survey",)),
    ("safety", "Review the changes for security", "hestia", ("survey",)),
    ("notes", "Write the release notes", "muses", ("speed", "safety")),
    ("publish", "Publish the release", "hera", ("notes",)),
)
_BLOCKED_AT_FIRST = 4


@asynccontextmanager
async def cleared(api: Api) -> AsyncGenerator[None]:
    """Delete the demo's tasks before, in case a run was interrupted, and after."""
    await _clear(api)
    async with cleaning(partial(_clear, api)):
        yield


async def _clear(api: Api) -> None:
    """Newest first: what depends on a task was made after it."""
    while found := (await api.get("/tasks", label=LABEL, sort="newest", limit=200))["items"]:
        for task in found:
            await api.call("DELETE", f"/tasks/{task['id']}")


async def show_graph(api: Api, screen: Screen) -> None:
    """Create the graph, complete two of its tasks, and show after each what can be started.

    Raises:
        DemoFailed: the wrong tasks were ready.
    """
    ids = await _create(api)
    screen.say(f"Created {len(ids)} tasks that depend on each other:")
    await _show(api, screen, ids)
    await _expect(api, ids, ready={"survey"})
    for name, then_ready in (("survey", {"speed", "safety"}), ("speed", {"safety"}), ("safety", {"notes"})):
        await api.post(f"/tasks/{ids[name]}/complete", {"result": {"by": "the demo"}})
        ready = await _expect(api, ids, ready=then_ready)
        screen.say(f"Completed {name}: now ready {', '.join(sorted(ready))}.", 2)
    screen.gap()
    await _show(api, screen, ids)


async def _create(api: Api) -> dict[str, str]:
    ids: dict[str, str] = {}
    for name, title, persona, needs in _GRAPH:
        body = {
            "title": title,
            "assigned_persona": persona,
            "labels": [LABEL],
            "depends_on": [ids[need] for need in needs],
            "metadata": {"name": name},
        }
        ids[name] = (await api.post("/tasks", body))["id"]
    return ids


async def _tasks(api: Api) -> dict[str, dict[str, Any]]:
    page = await api.get("/tasks", label=LABEL, sort="oldest", limit=50)
    return {task["metadata"]["name"]: task for task in page["items"]}


async def _expect(api: Api, ids: dict[str, str], ready: set[str]) -> set[str]:
    found = {name for name, task in (await _tasks(api)).items() if task["ready"]}
    if found != ready:
        raise DemoFailed(f"ready are {sorted(found)}, not {sorted(ready)}")
    return found & ids.keys()


async def _show(api: Api, screen: Screen, ids: dict[str, str]) -> None:
    tasks = await _tasks(api)
    for name, title, persona, needs in _GRAPH:
        task = tasks[name]
        state = "ready" if task["ready"] else "blocked" if task["blocked"] else task["status"]
        after = f"after {', '.join(needs)}" if needs else ""
        screen.row(f"{state:<10} {name:<8} {title:<34} {persona:<8} {after}")
