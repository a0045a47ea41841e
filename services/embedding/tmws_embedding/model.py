"""The model: texts to vectors.

One ONNX Runtime session for all threads (one copy of the weights), each run on the thread that calls it. In the
built-in models a vector depends on its text alone, so short texts of one length share a run. A model from a folder
runs one text at a time: it may be quantised while running, and then its vectors depend on their companions.
"""

# onnxruntime ships no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import os
import platform
from collections import defaultdict
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
Tokens = list[int]
MAX_TOKENS = 256
# A run costs as much as eight tokens; from about this many tokens on nothing is gained by more.
BATCH_TOKENS = 128
# On one thread ONNX Runtime needs 131 µs for 66 x 384 values there, and 25 µs for Add and LayerNormalization.
SLOWER_THAN_THEIR_PARTS = ["SkipLayerNormFusion", "BiasSkipLayerNormFusion"]
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
        tokens = self.tokenize(texts)
        return Embedded(self.infer_all(tokens), sum(map(len, tokens)))

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the tokens of each text, at most 256."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def batches(self, lengths: Sequence[int]) -> list[list[int]]:
        """Return which texts of these numbers of tokens may share a run, longest first."""
        return batches(lengths, BATCH_TOKENS if self.artifact.is_built_in else 0)

    def infer(self, tokens: Sequence[Tokens]) -> Vectors:
        """Return the vectors of texts that share a run."""
        ids = np.array(tokens, np.int64)
        feed = {"input_ids": ids}
        if len(self._inputs) > 1:
            feed |= {"attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        answer = self._session.run([self._output], {name: feed[name] for name in self._inputs})
        output = cast("NDArray[np.floating]", answer[0])
        return cast("Vectors", output) if self.artifact.is_built_in else normalise(output)

    def infer_all(self, tokens: Sequence[Tokens]) -> Vectors:
        """Return a vector for each text."""
        if len(tokens) == 1:
            return self.infer(tokens)
        vectors = np.empty((len(tokens), self.dimension), np.float32)
        for batch in self.batches([len(ids) for ids in tokens]):
            vectors[batch] = self.infer([tokens[index] for index in batch])
        return vectors

    def _warm_up(self) -> int:
        """Allocate what the runs need; return the length of a vector."""
        try:
            return self.embed(["warm-up"]).vectors.shape[1]
        except (KeyError, *_LOAD_ERRORS) as error:
            raise ModelUnavailable(
                f"{self.artifact.model_path} does not work as an embedding model: {error}"
            ) from error


def batches(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Put texts of the same length together, as many as fit into `max_tokens`, longest first."""
    same_length: dict[int, list[int]] = defaultdict(list)
    for index, length in enumerate(lengths):
        same_length[length].append(index)
    found: list[list[int]] = []
    for length in sorted(same_length, reverse=True):
        members, size = same_length[length], max(1, max_tokens // length)
        found += [members[start : start + size] for start in range(0, len(members), size)]
    return found


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
    # Its own threads would take the cores from the model's: 6 % fewer texts/s.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def load_session(path: Path) -> ort.InferenceSession:
    """Return a session on the model at `path`.

    Raises:
        ModelUnavailable: the file cannot be loaded.
    """
    try:
        return open_session(str(path))
    except _LOAD_ERRORS as error:
        raise ModelUnavailable(f"{path} cannot be loaded ({error}); if TMWS made it, delete its folder") from error


def open_session(model: str | bytes) -> ort.InferenceSession:
    """Return a session on a model, by its path or content, that uses no threads of its own."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if needs_wide_products(platform.machine(), cpu_features()):
        options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOWER_THAN_THEIR_PARTS
    )


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
