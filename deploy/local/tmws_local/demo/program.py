"""The demo from beginning to end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

from tmws_local.demo import memory, records, tasks, workflow
from tmws_local.demo.agent import Agent, Tell
from tmws_local.demo.api import Api
from tmws_local.demo.passages import collect
from tmws_local.demo.screen import Screen
from tmws_local.demo.stack import place

_CLOCK_SKEW = timedelta(seconds=1)


def show(environ: Mapping[str, str], folder: Path) -> int:
    """Run the demo and return its exit code.

    Raises:
        DemoFailed: something did not do what it should.
    """
    asyncio.run(_show(environ, folder))
    return 0


async def _show(environ: Mapping[str, str], folder: Path) -> None:
    screen = Screen()
    started = perf_counter()
    screen.say("TMWS is what a team of AI agents shares: a memory, a task board, workflows, personas, an audit trail.")
    async with place(environ, folder, screen) as found, Api(found.url, found.token) as api:
        screen.say(f"Using the stack at {found.url} ({found.about}).")
        await _parts(api, screen, folder)
    screen.gap()
    screen.say(f"All of it worked, in {perf_counter() - started:.0f} s. The demo's tasks and workflow are gone again;")
    screen.say("its memories go by themselves after a day.")


async def _parts(api: Api, screen: Screen, folder: Path) -> None:
    since = datetime.now(UTC) - _CLOCK_SKEW
    async with tasks.cleared(api), Agent(api.url, api.token, workflow.AGENTS_LABEL, _teller(screen)) as agent:
        screen.heading("1. Memory: the project's own documentation, asked in plain words")
        await memory.remember(api, screen, collect(_root(folder)))
        await memory.ask(api, screen)
        screen.heading("2. Tasks: who can do what now, and what has to wait")
        await tasks.show_graph(api, screen)
        screen.heading("3. A workflow, and an agent that does its part over MCP")
        await _workflow(api, screen, agent)
    screen.heading("4. Personas: who the agents are")
    await records.show_personas(api, screen)
    screen.heading("5. Audit: everything above, on record")
    await records.show_audit(api, screen, since)


async def _workflow(api: Api, screen: Screen, agent: Agent) -> None:
    screen.say(f"The agent is an MCP client on `tmws-mcp`, over stdio. It has {', '.join(await agent.tools())}.")
    screen.say("The workflow: search memory, brief, have an agent answer, keep a confident answer, note a doubt.")
    screen.gap()
    async with workflow.saved(api) as workflow_id:
        await workflow.run(api, screen, agent, workflow_id)


def _teller(screen: Screen) -> Tell:
    return lambda text: screen.row(f"          agent    {text}")


def _root(folder: Path) -> Path:
    """The clone: where the demo was started, or where this file lies."""
    here = Path(__file__).resolve().parents[4]
    return folder if (folder / "Taskfile.yml").is_file() else here
