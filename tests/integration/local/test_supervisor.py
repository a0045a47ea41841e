"""The supervisor starts in order, brings back what dies, gives up where it must, stops in reverse."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from support import fake_process
from tmws_local import keeper, probe
from tmws_local.command import Command
from tmws_local.console import Console
from tmws_local.errors import ConfigurationRefused, StackError
from tmws_local.keeper import Unit
from tmws_local.state import ProcessState
from tmws_local.supervisor import Supervisor

Lines = list[str]
TIMEOUT_S = 20.0


class Stage:
    """A folder in which fake processes play."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.states: dict[str, ProcessState] = {}

    def unit(self, name: str, *options: str, **fields: Any) -> Unit:
        async def answers() -> bool:
            return await probe.status(f"unix://{self.folder / name}.sock", "/readyz") == 200

        script = (sys.executable, fake_process.__file__, str(self.folder), name, *options)
        fields = {"command": lambda: Command(script), "is_ready": answers, **fields}
        return Unit(name, log=self.folder / f"{name}.log", **fields)

    def record(self, states: Any) -> None:
        self.states = {state.name: state for state in states}

    def events(self) -> Lines:
        path = self.folder / "events"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, *units: Unit, when_ready: Callable[[], Awaitable[None]]) -> None:
        async def play() -> None:
            async with asyncio.timeout(TIMEOUT_S):
                await Supervisor(units, Console(), self.record).run(when_ready)

        asyncio.run(play())

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await asyncio.sleep(0.02)


async def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


async def nothing() -> None:
    return


@pytest.fixture
def stage(short_directory: Path, request: pytest.FixtureRequest) -> Stage:
    folder = short_directory / request.node.name[:40]
    folder.mkdir()
    return Stage(folder)


def test_unit_starts_after_what_it_needs(stage: Stage) -> None:
    stage.run(stage.unit("late", needs=("early",)), stage.unit("early"), when_ready=stop)

    assert stage.events()[:2] == ["early up", "late up"]


def test_caller_stops_before_the_one_it_calls(stage: Stage) -> None:
    stage.run(stage.unit("service"), stage.unit("gateway", calls=("service",)), when_ready=stop)

    assert stage.events()[2:] == ["gateway term", "gateway down", "service term", "service down"]


def test_needed_unit_stops_last(stage: Stage) -> None:
    stage.run(stage.unit("store"), stage.unit("service", needs=("store",)), when_ready=stop)

    assert stage.events()[-2:] == ["store term", "store down"]


def test_killed_process_is_back_within_a_second(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    async def kill_and_wait() -> None:
        first = stage.states["service"].pid
        os.kill(first or 0, signal.SIGKILL)
        async with asyncio.timeout(1.5):
            await stage.until(lambda: stage.states["service"].pid not in {first, None})
            await stage.until(lambda: stage.states["service"].state == "ready")
        await stop()

    stage.run(stage.unit("service"), when_ready=kill_and_wait)

    told = capsys.readouterr().out
    assert "service was ended by SIGKILL; starting it again in 0.2 s" in told
    assert "service is back" in told
    assert stage.states["service"].restarts == 1


def test_process_that_does_not_start_shows_its_last_words(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StackError, match="broken does not start \\(tried 3 times\\)"):
        stage.run(stage.unit("broken", "--code", "5"), when_ready=nothing)

    told = capsys.readouterr().out
    assert "broken ended with exit code 5 before it was ready; its last words:" in told
    assert "broken has nothing to live for" in told


def test_failed_start_leaves_nothing_running(stage: Stage) -> None:
    with pytest.raises(StackError):
        stage.run(stage.unit("well"), stage.unit("broken", "--code", "5"), when_ready=nothing)

    assert stage.events() == ["well up", "well term", "well down"]


def test_refused_settings_are_not_tried_twice(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        ConfigurationRefused, match="gateway refuses its settings:\n    gateway has nothing to live for"
    ):
        stage.run(stage.unit("gateway", "--code", "78"), when_ready=nothing)

    assert "starting it again" not in capsys.readouterr().out


def test_deaf_process_is_killed_after_the_grace(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "STOP_GRACE_S", 0.3)

    stage.run(stage.unit("deaf", "--deaf"), when_ready=stop)

    assert stage.states["deaf"].state == "stopped"
    assert "deaf down" not in stage.events()


def test_signal_during_the_start_stops_what_has_started(stage: Stage) -> None:
    async def never() -> bool:
        await stage.until(lambda: "slow up" in stage.events())
        await stop()
        return False

    stage.run(stage.unit("slow", is_ready=never), stage.unit("later", needs=("slow",)), when_ready=nothing)

    assert stage.events() == ["slow up", "slow term", "slow down"]


def test_processes_end_when_the_supervisor_is_killed(stage: Stage) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from integration.local.test_supervisor import Stage, nothing\n"
        "stage = Stage(Path(sys.argv[1])); stage.run(stage.unit('service'), when_ready=nothing)\n"
    )
    process = psutil.Popen(
        [sys.executable, "-c", program, str(stage.folder)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )

    async def kill_it() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await stage.until(lambda: "service up" in stage.events())
            process.kill()
            process.wait()
            await stage.until(lambda: "service down" in stage.events())

    asyncio.run(kill_it())

    assert stage.events() == ["service up", "service down"]
