"""Reading and capping the logs."""

from pathlib import Path

import pytest

from tmws_local import logs


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "task.log"
    path.write_text("one\ntwo\nthree\n")
    return path


def test_tail_gives_the_last_lines(log: Path) -> None:
    assert logs.tail(log, 2) == ["two", "three"]


def test_tail_gives_only_what_was_written_since(log: Path) -> None:
    assert logs.tail(log, 9, start=len("one\n")) == ["two", "three"]


def test_tail_of_a_log_that_was_cut_starts_at_its_beginning(log: Path) -> None:
    assert logs.tail(log, 9, start=1000) == ["one", "two", "three"]


def test_tail_of_a_missing_log_is_empty(tmp_path: Path) -> None:
    assert logs.tail(tmp_path / "none.log", 9) == []


def test_log_over_the_cap_is_moved_and_cut(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 5)

    logs.rotate(log.parent)

    assert (log.read_text(), log.with_suffix(".log.1").read_text()) == ("", "one\ntwo\nthree\n")


def test_log_under_the_cap_stays(log: Path) -> None:
    logs.rotate(log.parent)

    assert log.read_text() == "one\ntwo\nthree\n"


def test_shown_lines_name_their_process(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs.show([log], 1, follow=False)

    assert capsys.readouterr().out == "task | three\n"
