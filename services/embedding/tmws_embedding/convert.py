"""Make the ONNX file of a built-in model from the weights in its package, ahead of time or at the first start.

    python -m tmws_embedding.convert --data-dir .tmws

Run as a program of its own: only here are `onnx` and `safetensors` loaded. For int8 the fp32 model runs once over the
calibration texts, which tells the ranges of its activations.
"""

# safetensors leaves its functions untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import onnx
from safetensors import SafetensorError, safe_open

from tmws_embedding.arithmetic import Range
from tmws_embedding.artifacts import (
    BUILT_IN,
    MODEL_FILE,
    TOKENIZER_FILE,
    ModelUnavailable,
    built_in,
    is_complete,
    publish,
)
from tmws_embedding.calibration import calibration_texts, measure_ranges
from tmws_embedding.graph import BertShape, Tensors, exact_graph, quantized_graph
from tmws_embedding.model import load_tokenizer

WORDS_FILE = "words.bin"
# Larger than any other matrix of the built-in model, smaller than its table of words.
WORDS_MIN_BYTES = 16 * 1024 * 1024


def convert_model(model: str, precision: str, data_dir: Path) -> Path:
    """Convert a built-in model unless that is done already; return the folder with its files.

    Raises:
        ModelUnavailable: its package is not installed or damaged.
        OSError: the folder cannot be written.
    """
    folder = built_in(model, precision, data_dir).folder
    if is_complete(folder):
        return folder
    source = weights_folder(model)
    with publish(folder) as scratch:
        save_model(build_graph(source, precision), scratch)
        shutil.copyfile(source / TOKENIZER_FILE, scratch / TOKENIZER_FILE)
    return folder


def weights_folder(model: str) -> Path:
    """Return the folder with the checkpoint of a built-in model.

    Raises:
        ModelUnavailable: its package is not installed.
    """
    # Found, not imported: the package's own code wants torch.
    package = BUILT_IN[model]
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModelUnavailable(f"the package {package.replace('_', '-')} with the weights of {model} is not installed")
    return Path(spec.submodule_search_locations[0]) / "model"


def build_graph(source: Path, precision: str) -> onnx.ModelProto:
    """Return the model made of the checkpoint in `source`.

    Raises:
        ModelUnavailable: the checkpoint is damaged.
    """
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    shape = BertShape(
        hidden_size=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        epsilon=config["layer_norm_eps"],
    )
    try:
        with safe_open(source / "model.safetensors", "numpy") as tensors:
            if precision == "fp32":
                return exact_graph(shape, tensors.get_tensor)[0].model
            ranges = _measure(shape, tensors.get_tensor, source / TOKENIZER_FILE)
            return quantized_graph(shape, tensors.get_tensor, ranges).model
    except SafetensorError as error:
        raise ModelUnavailable(f"the weights in {source} are damaged: {error}") from error


def _measure(shape: BertShape, tensors: Tensors, tokenizer_path: Path) -> dict[str, Range]:
    tokenizer = load_tokenizer(tokenizer_path)
    graph, sites = exact_graph(shape, tensors)
    return measure_ranges(graph, sites, [tokenizer.encode(text).ids for text in calibration_texts()])


def save_model(graph: onnx.ModelProto, folder: Path) -> None:
    """Write the model with its table of word vectors in a file of its own.

    ONNX Runtime maps that file: its pages can be given back at any time, and processes share them.
    """
    onnx.save_model(
        graph,
        folder / MODEL_FILE,
        save_as_external_data=True,
        location=WORDS_FILE,
        size_threshold=WORDS_MIN_BYTES,
    )


def main() -> None:
    """Convert as the arguments say; exits 1 with one line when that is not possible."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="all-MiniLM-L6-v2", choices=sorted(BUILT_IN))
    parser.add_argument("--precision", default="int8", choices=["int8", "fp32"])
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("TMWS_DATA_DIR", ".tmws")))
    arguments = parser.parse_args()
    try:
        folder = convert_model(arguments.model, arguments.precision, arguments.data_dir)
    except (ModelUnavailable, OSError) as error:
        sys.exit(str(error))
    sys.stdout.write(f"{folder}\n")


if __name__ == "__main__":
    main()
