"""Sockets lie in the data directory as long as its path is short enough for them."""

from pathlib import Path

import pytest

from tmws_local.paths import Paths

SHORT = Paths(Path("/data/.tmws"))
LONG = Paths(Path("/home/someone/" + "a long folder name/" * 6))
LONGEST_NAMES = ("workflow-worker.sock", "postgres/.s.PGSQL.5432")


def test_sockets_of_a_short_path_lie_inside() -> None:
    assert SHORT.sockets == Path("/data/.tmws/run")


def test_sockets_of_a_long_path_lie_elsewhere() -> None:
    assert LONG.data not in LONG.sockets.parents


@pytest.mark.parametrize("paths", [SHORT, LONG, Paths(Path("/" + "x" * 70)), Paths(Path("/" + "é" * 40))], ids=repr)
@pytest.mark.parametrize("name", LONGEST_NAMES)
def test_no_socket_path_is_too_long_for_any_system(paths: Paths, name: str) -> None:
    assert len(bytes(paths.sockets / name)) <= 103


def test_two_long_paths_do_not_share_a_folder() -> None:
    assert LONG.sockets != Paths(LONG.data / "other").sockets


def test_long_path_gets_the_same_folder_each_time() -> None:
    assert LONG.sockets == Paths(LONG.data).sockets


def test_runtime_folder_of_the_user_is_preferred(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp")

    assert Paths(LONG.data / "fresh").sockets.parent == Path("/tmp")
