"""The ONNX graph of a BERT encoder with mean pooling, built from its weights: no optimizer pass, no torch.

All texts of a run have the same number of tokens. So there is no mask and no padding, and nothing of one text
reaches another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from tmws_embedding.arithmetic import Arithmetic, Exact, Floats, Operand, Quantized, Range
from tmws_embedding.onnx_graph import Graph

Tensors = Callable[[str], NDArray[np.float32]]

INPUT = "input_ids"
OUTPUT = "sentence_embedding"
TOKENS_AXIS = "tokens.axis"
FIRST = "tokens.first"
LENGTH = "tokens.length"


@dataclass(frozen=True)
class BertShape:
    """What the graph needs of a model's config.json."""

    hidden_size: int
    layers: int
    heads: int
    epsilon: float


def exact_graph(shape: BertShape, tensors: Tensors) -> tuple[Graph, Mapping[str, str]]:
    """Return the model in fp32, and which of its values is at which site (see `Exact.sites`)."""
    graph = Graph()
    arithmetic = Exact(graph)
    _BertBuilder(shape, tensors, graph, arithmetic, word_type=np.float32).build()
    return graph, arithmetic.sites


def quantized_graph(shape: BertShape, tensors: Tensors, ranges: Mapping[str, Range]) -> Graph:
    """Return the model in int8; `ranges` says for each site what its channels reach."""
    graph = Graph()
    # Half the size for 0.0005 of STS-B Spearman; int8 here would cost 0.001.
    _BertBuilder(shape, tensors, graph, Quantized(graph, ranges), word_type=np.float16).build()
    return graph


class _BertBuilder:
    """Builds the encoder layer by layer; `tensors` gives a weight by its name in the checkpoint."""

    def __init__(
        self, shape: BertShape, tensors: Tensors, graph: Graph, arithmetic: Arithmetic, word_type: type[np.floating]
    ) -> None:
        self._shape = shape
        self._tensors = tensors
        self._graph = graph
        self._arithmetic = arithmetic
        self._word_type = word_type

    def build(self) -> None:
        """Add everything from INPUT to OUTPUT, float32 [batch, hidden size], L2-normalised."""
        self._graph.declare_input(INPUT)
        self._graph.constant(TOKENS_AXIS, np.array([1], np.int64))
        self._graph.constant(FIRST, np.array([0], np.int64))
        hidden = self._embed_tokens()
        for index in range(self._shape.layers):
            hidden = self._layer(hidden, f"encoder.layer.{index}")
        self._pool(hidden)
        self._graph.declare_output(OUTPUT, "batch", self._shape.hidden_size)

    def _embed_tokens(self) -> str:
        graph = self._graph
        graph.add("Shape", [INPUT], LENGTH, start=1)
        # Every token is of segment 0: its vector goes into the positions, which saves an input.
        segment = self._tensors("embeddings.token_type_embeddings.weight")[0]
        table = self._tensors("embeddings.position_embeddings.weight") + segment
        positions = self._first_tokens("positions", table[None])
        return self._add_and_norm(self._look_up_words(), positions, "embeddings")

    def _first_tokens(self, name: str, table: Floats) -> str:
        """Return as much of a constant [1, tokens, …] as the texts are long."""
        constant = self._graph.constant(name, table)
        return self._graph.add("Slice", [constant, FIRST, LENGTH, TOKENS_AXIS], f"{name}.used")

    def _look_up_words(self) -> str:
        graph = self._graph
        words = self._tensors("embeddings.word_embeddings.weight").astype(self._word_type)
        found = graph.add("Gather", [graph.constant("words", words), INPUT], "word")
        return found if words.dtype == np.float32 else graph.add("Cast", [found], "word.float", to=TensorProto.FLOAT)

    def _layer(self, hidden: str, name: str) -> str:
        attended = self._attend(hidden, f"{name}.attention.self")
        dense = f"{name}.attention.output.dense"
        projected = self._arithmetic.multiply(self._operand(attended), *self._dense(dense), dense)
        hidden = self._add_and_norm(projected, hidden, f"{name}.attention.output")
        return self._add_and_norm(self._feed_forward(hidden, name), hidden, f"{name}.output")

    def _attend(self, hidden: str, name: str) -> str:
        operand = self._operand(hidden)
        parts = [f"{name}.{part}" for part in ("query", "key", "value")]
        projected = [self._arithmetic.multiply(operand, *self._dense(part), part) for part in parts]
        heads = self._shape.heads
        return self._graph.add("Attention", projected, name, q_num_heads=heads, kv_num_heads=heads)

    def _feed_forward(self, hidden: str, name: str) -> str:
        inner, outer, site = f"{name}.intermediate.dense", f"{name}.output.dense", f"{name}.gelu"
        operand = self._operand(hidden)
        (widen, inner_bias), (narrow, outer_bias) = self._dense(inner), self._dense(outer)
        parts: list[str] = []
        for index, columns in enumerate(self._arithmetic.groups(site, len(inner_bias))):
            wide = self._arithmetic.multiply(operand, widen[:, columns], inner_bias[columns], f"{inner}.{index}")
            wide = self._graph.add("Gelu", [wide], f"{site}.{index}")
            bias = np.zeros_like(outer_bias) if parts else outer_bias
            activated = self._arithmetic.operand(wide, site, columns)
            parts.append(self._arithmetic.multiply(activated, narrow[columns], bias, f"{outer}.{index}"))
        return parts[0] if len(parts) == 1 else self._graph.add("Add", parts, f"{outer}.sum")

    def _pool(self, hidden: str) -> None:
        # A product with ones: ReduceMean adds in another order when there are several texts. The mean's divisor
        # cancels out in the normalisation.
        tokens = self._tensors("embeddings.position_embeddings.weight").shape[0]
        ones = self._first_tokens("ones", np.ones((1, tokens), np.float32))
        total = self._graph.add("MatMul", [ones, hidden], "sum.row")
        total = self._graph.add("Squeeze", [total, TOKENS_AXIS], "sum")
        self._graph.add("LpNormalization", [total], OUTPUT, axis=-1, p=2)

    def _operand(self, values: str) -> Operand:
        return self._arithmetic.operand(values, values)

    def _dense(self, name: str) -> tuple[Floats, Floats]:
        return self._tensors(f"{name}.weight").T, self._tensors(f"{name}.bias")

    def _add_and_norm(self, values: str, residual: str, name: str) -> str:
        # Two nodes: ONNX Runtime's SkipLayerNormalization takes five times as long as both.
        total = self._graph.add("Add", [values, residual], f"{name}.residual")
        norm = f"{name}.LayerNorm"
        parts = [self._graph.constant(f"{norm}.{part}", self._tensors(f"{norm}.{part}")) for part in ("weight", "bias")]
        return self._graph.add("LayerNormalization", [total, *parts], norm, axis=-1, epsilon=self._shape.epsilon)
