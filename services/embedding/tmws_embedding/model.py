"""The model: texts to vectors, one at a time.

One ONNX Runtime session for all threads (one copy of the weights), each run on the thread that calls it. Batch 1:
a dynamically quantised vector depends on the texts it is batched with, alone it never changes; larger
batches would bring 15 %.
"""

# onnxruntime ships no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from tokenizers import Tokenizer

from tmws_embedding.artifacts import Artifact, ModelUnavailable

Vectors = NDArray[np.float32]
MAX_TOKENS = 256
MAIN_OUTPUT = "sentence_embedding"
CPU_FEATURES = Path("/proc/cpuinfo")
_LOAD_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


class Embedded(NamedTuple):
    """Vectors in the order of the texts (float32 [n, dimension], L2-normalised), and the tokens they took."""

    vectors: Vectors
    tokens: int


class Embedder:
    """A loaded model; safe to call from several threads."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self._tokenizer = load_tokenizer(artifact.tokenizer_path)
        self._session = load_session(artifact.model_path)
        self._inputs = [str(node.name) for node in self._session.get_inputs()]
        self._output = pick_output([str(node.name) for node in self._session.get_outputs()])
        self.dimension = self._warm_up()

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Return a vector for each text; of a long one its first 256 tokens."""
        encoded = [self._tokenizer.encode(text).ids for text in texts]
        vectors = np.concatenate([normalise(self._infer(ids)) for ids in encoded])
        return Embedded(vectors, sum(map(len, encoded)))

    def _infer(self, ids: list[int]) -> NDArray[np.floating]:
        tokens = np.array([ids], np.int64)
        feed = {"input_ids": tokens, "attention_mask": np.ones_like(tokens), "token_type_ids": np.zeros_like(tokens)}
        answer = self._session.run([self._output], {name: feed[name] for name in self._inputs})
        return cast("NDArray[np.floating]", answer[0])

    def _warm_up(self) -> int:
        """Allocate what the runs need; return the length of a vector."""
        try:
            return self.embed(["warm-up"]).vectors.shape[1]
        except (KeyError, *_LOAD_ERRORS) as error:
            raise ModelUnavailable(
                f"{self.artifact.model_path} does not work as an embedding model: {error}"
            ) from error


def pick_output(names: Sequence[str]) -> str:
    """Return the output that holds the vectors: the pooled one where there is one, else the first."""
    return MAIN_OUTPUT if MAIN_OUTPUT in names else names[0]


def normalise(output: NDArray[np.floating]) -> Vectors:
    """Return [1, n] vectors of length 1 from [1, n] or, by their mean over the tokens, from [1, tokens, n]."""
    mean = output.mean(axis=1) if output.ndim == 3 else output
    length = np.linalg.norm(mean, axis=1, keepdims=True)
    return (mean / np.maximum(length, 1e-12)).astype(np.float32)


def load_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer at `path`, cutting at 256 tokens and never padding, whatever its file says.

    Raises:
        ModelUnavailable: the file cannot be read.
    """
    try:
        tokenizer = Tokenizer.from_buffer(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{path} cannot be read: {error}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def load_session(path: Path) -> ort.InferenceSession:
    """Return a session on the model at `path` that uses no threads of its own.

    Raises:
        ModelUnavailable: the file cannot be loaded.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if needs_wide_products(platform.machine(), cpu_features()):
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _LOAD_ERRORS as error:
        raise ModelUnavailable(f"{path} cannot be loaded ({error}); if TMWS made it, delete its folder") from error


def needs_wide_products(machine: str, features: frozenset[str]) -> bool:
    """Whether 8-bit products must be kept from overflowing on this processor.

    x86 without VNNI adds pairs of uint8 x int8 products in saturating 16 bits (VPMADDUBSW), and 255 * 127 * 2 does
    not fit. ONNX Runtime can use its uint8 x uint8 kernels instead: the same vectors to the last bit, about a third
    slower. Seven-bit weights would avoid it too, at the price of accuracy on every processor.
    """
    is_x86 = machine.lower() in {"x86_64", "amd64"}
    return is_x86 and not features & {"avx512_vnni", "avx_vnni"}


def cpu_features() -> frozenset[str]:
    """Return the words of /proc/cpuinfo, its flags among them; none where there is no such file."""
    try:
        return frozenset(CPU_FEATURES.read_text(encoding="ascii", errors="replace").split())
    except OSError:
        return frozenset()
