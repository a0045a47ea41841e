"""How the model's files come into the data directory, whatever happens meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tmws_embedding.artifacts import (
    CONVERTER_VERSION,
    MODEL_FILE,
    STALE_AFTER_S,
    TOKENIZER_FILE,
    ModelUnavailable,
    built_in,
    is_complete,
    prepare_model,
    publish,
)
from tmws_embedding.model import Embedder
from tmws_shared.settings import ConfigurationError

pytestmark = pytest.mark.long

MODEL = "all-MiniLM-L6-v2"


def start_conversion(data_dir: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tmws_embedding.convert", "--data-dir", str(data_dir)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_partial(data_dir: Path) -> Path:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if found := list(data_dir.glob("models/.partial-*")):
            return found[0]
        time.sleep(0.001)
    raise AssertionError("the conversion never began")


def fill(folder: Path, text: str = "new") -> None:
    (folder / MODEL_FILE).write_text(text)
    (folder / TOKENIZER_FILE).write_text(text)


def test_conversion_killed_half_way_leaves_the_next_start_a_clean_field(tmp_path: Path) -> None:
    conversion = start_conversion(tmp_path)
    wait_for_partial(tmp_path)
    conversion.kill()
    conversion.communicate()
    assert not built_in(MODEL, "int8", tmp_path).folder.exists()

    artifact = prepare_model(MODEL, "int8", tmp_path)

    assert Embedder(artifact).dimension == 384


def test_two_conversions_at_once_make_one_model(tmp_path: Path) -> None:
    conversions = [start_conversion(tmp_path) for _ in range(2)]
    errors = [conversion.communicate(timeout=60)[1] for conversion in conversions]

    assert [conversion.returncode for conversion in conversions] == [0, 0], errors
    assert [path.name for path in (tmp_path / "models").iterdir()] == [f"{MODEL}-int8-{CONVERTER_VERSION}"]


def test_model_converted_ahead_of_time_is_used_as_it_is(data_dir: Path) -> None:
    before = built_in(MODEL, "int8", data_dir).model_path.stat().st_mtime_ns

    artifact = prepare_model(MODEL, "int8", data_dir)

    assert artifact.model_path.stat().st_mtime_ns == before


def test_two_conversions_give_the_same_file(data_dir: Path, tmp_path: Path) -> None:
    again = prepare_model(MODEL, "int8", tmp_path)

    assert again.model_path.read_bytes() == built_in(MODEL, "int8", data_dir).model_path.read_bytes()


def test_another_user_can_read_the_files(data_dir: Path) -> None:
    folder = built_in(MODEL, "int8", data_dir).folder

    assert {oct(path.stat().st_mode & 0o444) for path in folder.iterdir()} == {"0o444"}


def test_model_folder_that_lost_a_file_is_made_anew(tmp_path: Path) -> None:
    target = tmp_path / "models" / "model"
    target.mkdir(parents=True)
    (target / MODEL_FILE).write_text("old")

    with publish(target) as scratch:
        fill(scratch)

    assert (target / MODEL_FILE).read_text() == "new"


def test_second_of_two_at_once_keeps_the_first_ones_files(tmp_path: Path) -> None:
    target = tmp_path / "model"

    with publish(target) as second:
        fill(second, "second")
        with publish(target) as first:
            fill(first, "first")

    assert (target / MODEL_FILE).read_text() == "first"
    assert list(tmp_path.iterdir()) == [target]


def fail_half_way(target: Path) -> None:
    with publish(target) as scratch:
        fill(scratch)
        raise OSError("disk full")


def test_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk full"):
        fail_half_way(tmp_path / "model")

    assert list(tmp_path.iterdir()) == []


def test_leftover_of_a_killed_conversion_is_removed_later(tmp_path: Path) -> None:
    leftover = tmp_path / ".partial-killed"
    leftover.mkdir()
    long_ago = time.time() - STALE_AFTER_S - 1
    os.utime(leftover, (long_ago, long_ago))

    with publish(tmp_path / "model") as scratch:
        fill(scratch)

    assert not leftover.exists()


def test_conversion_that_may_still_run_is_left_alone(tmp_path: Path) -> None:
    running = tmp_path / ".partial-running"
    running.mkdir()

    with publish(tmp_path / "model") as scratch:
        fill(scratch)

    assert running.exists()


def test_data_directory_that_is_a_file_is_told_in_one_line(tmp_path: Path) -> None:
    occupied = tmp_path / "occupied"
    occupied.write_text("")

    with pytest.raises(ModelUnavailable, match=r"could not be converted: .*Not a directory") as refused:
        prepare_model(MODEL, "int8", occupied)

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("model", ["all-minilm-l6-v2", "no/such/folder", "."])
def test_unknown_model_is_refused_by_the_settings_name(model: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^TMWS_EMBEDDING_MODEL must be"):
        prepare_model(model, "int8", tmp_path)


def test_model_of_a_folder_gives_its_own_vectors(exact_embedder: Embedder, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    shutil.copytree(exact_embedder.artifact.folder, folder)

    own = Embedder(prepare_model(str(folder), "int8", tmp_path))

    assert own.artifact.precision == "file"
    assert np.allclose(own.embed(["a text"]).vectors, exact_embedder.embed(["a text"]).vectors, atol=1e-6)


def test_models_of_two_folders_with_one_name_are_told_apart(tmp_path: Path) -> None:
    for parent, text in (("a", "one"), ("b", "other")):
        (tmp_path / parent / "own").mkdir(parents=True)
        fill(tmp_path / parent / "own", text)

    names = [prepare_model(str(tmp_path / parent / "own"), "int8", tmp_path).name for parent in ("a", "b")]

    assert names[0] != names[1]
    assert [name.partition("@")[0] for name in names] == ["own", "own"]


def test_damaged_model_file_is_told(embedder: Embedder, tmp_path: Path) -> None:
    shutil.copytree(embedder.artifact.folder, tmp_path / "damaged")
    (tmp_path / "damaged" / MODEL_FILE).write_bytes(b"not a model")

    with pytest.raises(ModelUnavailable, match=r"model\.onnx cannot be loaded"):
        Embedder(prepare_model(str(tmp_path / "damaged"), "int8", tmp_path))


def test_damaged_tokenizer_is_told(embedder: Embedder, tmp_path: Path) -> None:
    shutil.copytree(embedder.artifact.folder, tmp_path / "damaged")
    (tmp_path / "damaged" / TOKENIZER_FILE).write_text("{}")

    with pytest.raises(ModelUnavailable, match=r"tokenizer\.json cannot be read"):
        Embedder(prepare_model(str(tmp_path / "damaged"), "int8", tmp_path))


def test_folder_needs_both_files(tmp_path: Path) -> None:
    (tmp_path / MODEL_FILE).write_text("")

    assert not is_complete(tmp_path)
