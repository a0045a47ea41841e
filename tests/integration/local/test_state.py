"""The version stamp of a data directory."""

from pathlib import Path

import pytest

from tmws_local.errors import UnusableDirectory
from tmws_local.paths import Paths
from tmws_local.state import check_stamp, read_state, write_stamp


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


@pytest.mark.parametrize("stamp", ["tmws 0.0.9\n", "tmws 0.1.0\n", "", "something else"])
def test_data_of_an_older_or_unknown_version_is_accepted(paths: Paths, stamp: str) -> None:
    paths.version.write_text(stamp)

    check_stamp(paths)


@pytest.mark.parametrize("stamp", ["tmws 99.0\n", "tmws 0.1000.0\n"])
def test_data_of_a_newer_version_is_refused(paths: Paths, stamp: str) -> None:
    paths.version.write_text(stamp)

    with pytest.raises(UnusableDirectory, match="newer than this one"):
        check_stamp(paths)


def test_own_stamp_is_accepted(paths: Paths) -> None:
    write_stamp(paths)

    check_stamp(paths)


@pytest.mark.parametrize("text", ["", "{", "null"])
def test_unreadable_state_counts_as_none(paths: Paths, text: str) -> None:
    paths.state.write_text(text)

    assert read_state(paths) == ("", [])
