"""The ONNX graph of a BERT encoder with mean pooling, built from its weights.

It uses ONNX Runtime's fused operators directly (com.microsoft: EmbedLayerNormalization, Attention,
SkipLayerNormalization, BiasGelu and their 8-bit forms): no optimizer pass, no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

Floats = NDArray[np.float32]
Tensors = Callable[[str], Floats]

CONTRIB = "com.microsoft"
INPUTS = ("input_ids", "attention_mask")
OUTPUT = "sentence_embedding"
INT8_MAX = 127


@dataclass(frozen=True)
class BertShape:
    """What the graph needs of a model's config.json."""

    hidden_size: int
    layers: int
    heads: int
    epsilon: float


class Graph:
    """A model under construction; every node is named like its first output."""

    def __init__(self) -> None:
        # ReduceL2 takes its axes as an attribute up to opset 17.
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(CONTRIB, 1)]
        self.model = onnx.ModelProto(ir_version=8, producer_name="tmws", opset_import=opsets)
        self.model.graph.name = "encoder"

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant and return its name."""
        # Filled in place: helper.make_graph and make_model would each copy all weights once more.
        tensor = self.model.graph.initializer.add()
        tensor.name = name
        tensor.dims.extend(value.shape)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(value.dtype)
        tensor.raw_data = value.tobytes()
        return name

    def add(self, operator: str, inputs: list[str], name: str, *more_outputs: str, **attributes: Any) -> str:
        """Add a standard node and return its first output."""
        outputs = [name, *more_outputs]
        node = helper.make_node(operator, inputs, outputs, name=name, **attributes)
        self.model.graph.node.append(node)
        return name

    def add_fused(self, operator: str, inputs: list[str], name: str, *more_outputs: str, **attributes: Any) -> str:
        """Add one of ONNX Runtime's own nodes and return its first output."""
        return self.add(operator, inputs, name, *more_outputs, domain=CONTRIB, **attributes)

    def quantized_weights(self, name: str, weights: Floats) -> tuple[str, str, str]:
        """Add weights as int8; return the names of the values, scales and zero points."""
        values, scales = quantize_weights(weights)
        return (
            self.constant(f"{name}.int8", values),
            self.constant(f"{name}.scales", scales),
            self.constant(f"{name}.zeros", np.zeros(scales.shape, np.int8)),
        )

    def declare(self, inputs: tuple[str, ...], output: str, width: int) -> None:
        """Declare the model's inputs, int64 [batch, tokens], and output, float32 [batch, width]."""
        for name in inputs:
            shape = ["batch", "tokens"]
            info = helper.make_tensor_value_info(name, TensorProto.INT64, shape)
            self.model.graph.input.append(info)
        info = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", width])
        self.model.graph.output.append(info)


def quantize_weights(weights: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Quantise a [in, out] matrix symmetrically to int8 with one scale per output column.

    The whole range of -127…127 is used; what that overflows on processors without VNNI is avoided
    when the model is loaded (`model.py`), not by giving up a bit of every weight everywhere.
    """
    largest = np.maximum(np.abs(weights).max(axis=0), np.finfo(np.float32).tiny)
    scales = (largest / INT8_MAX).astype(np.float32)
    values = np.clip(np.rint(weights / scales), -INT8_MAX, INT8_MAX)
    return values.astype(np.int8), scales


class BertGraph:
    """Builds the encoder layer by layer.

    `tensors` gives a weight by its name in the checkpoint. With `is_int8` all matrix products with
    weights take 8-bit operands; activations are quantised by their own range while running.
    """

    def __init__(self, shape: BertShape, tensors: Tensors, *, is_int8: bool) -> None:
        self._shape = shape
        self._tensors = tensors
        self._is_int8 = is_int8
        self._graph = Graph()

    def build(self) -> onnx.ModelProto:
        """Return the model: INPUTS to OUTPUT, L2-normalised."""
        mask = self._graph.add("Cast", ["attention_mask"], "mask", to=TensorProto.INT32)
        hidden = self._embed_tokens()
        for index in range(self._shape.layers):
            hidden = self._layer(hidden, mask, f"encoder.layer.{index}")
        self._pool(hidden)
        self._graph.declare(INPUTS, OUTPUT, self._shape.hidden_size)
        return self._graph.model

    def _embed_tokens(self) -> str:
        graph = self._graph
        length = graph.add("Shape", ["input_ids"], "length", start=1)
        start, axis = (
            graph.constant("first", np.array([0], np.int64)),
            graph.constant("tokens.axis", np.array([1], np.int64)),
        )
        # Every token is of segment 0: its vector goes into the positions, which saves an input.
        segment = self._tensors("embeddings.token_type_embeddings.weight")[0]
        table = self._tensors("embeddings.position_embeddings.weight") + segment
        positions = graph.add("Slice", [graph.constant("positions", table[None]), start, length, axis], "position")
        inputs = [self._look_up_words(), positions, *self._norm("embeddings.LayerNorm")]
        return graph.add_fused("SkipLayerNormalization", inputs, "embedded", epsilon=self._shape.epsilon)

    def _look_up_words(self) -> str:
        graph = self._graph
        words = self._tensors("embeddings.word_embeddings.weight")
        if not self._is_int8:
            return graph.add("Gather", [graph.constant("words", words), "input_ids"], "word")
        # Half the size for 0.0005 of STS-B Spearman; int8 here would cost 0.001.
        table = graph.constant("words", words.astype(np.float16))
        half = graph.add("Gather", [table, "input_ids"], "word.half")
        return graph.add("Cast", [half], "word", to=TensorProto.FLOAT)

    def _layer(self, hidden: str, mask: str, name: str) -> str:
        attended = self._attend(hidden, mask, f"{name}.attention.self")
        projected = self._multiply(attended, f"{name}.attention.output.dense")
        hidden = self._add_and_norm(hidden, projected, f"{name}.attention.output")
        dense = f"{name}.intermediate.dense"
        inner = self._multiply(hidden, dense)
        inner = self._graph.add_fused("BiasGelu", [inner, self._bias(dense)], f"{name}.gelu")
        projected = self._multiply(inner, f"{name}.output.dense")
        return self._add_and_norm(hidden, projected, f"{name}.output")

    def _attend(self, hidden: str, mask: str, name: str) -> str:
        parts = [f"{name}.{part}" for part in ("query", "key", "value")]
        weights = np.concatenate([self._tensors(f"{part}.weight").T for part in parts], axis=1)
        bias = np.concatenate([self._tensors(f"{part}.bias") for part in parts])
        bias_name = self._graph.constant(f"{name}.bias", bias)
        heads = self._shape.heads
        if self._is_int8:
            inputs = self._quantized_attention(hidden, name, weights, bias_name, mask)
            return self._graph.add_fused("QAttention", inputs, name, num_heads=heads)
        inputs = [hidden, self._graph.constant(f"{name}.weight", weights), bias_name, mask]
        return self._graph.add_fused("Attention", inputs, name, num_heads=heads)

    def _quantized_attention(self, hidden: str, name: str, weights: Floats, bias: str, mask: str) -> list[str]:
        values, scale, zero = f"{name}.input", f"{name}.input.scale", f"{name}.input.zero"
        self._graph.add("DynamicQuantizeLinear", [hidden], values, scale, zero)
        w_values, w_scales, w_zeros = self._graph.quantized_weights(f"{name}.weight", weights)
        return [values, w_values, bias, scale, w_scales, mask, zero, w_zeros]

    def _multiply(self, source: str, name: str) -> str:
        weights = self._tensors(f"{name}.weight").T
        if self._is_int8:
            quantized = self._graph.quantized_weights(f"{name}.weight", weights)
            return self._graph.add_fused("DynamicQuantizeMatMul", [source, *quantized], name)
        return self._graph.add("MatMul", [source, self._graph.constant(f"{name}.weight", weights)], name)

    def _add_and_norm(self, residual: str, projected: str, name: str) -> str:
        norm, bias = self._norm(f"{name}.LayerNorm"), self._bias(f"{name}.dense")
        inputs = [residual, projected, *norm, bias]
        epsilon = self._shape.epsilon
        return self._graph.add_fused("SkipLayerNormalization", inputs, f"{name}.norm", epsilon=epsilon)

    def _norm(self, name: str) -> list[str]:
        names = (f"{name}.weight", f"{name}.bias")
        return [self._graph.constant(part, self._tensors(part)) for part in names]

    def _bias(self, name: str) -> str:
        return self._graph.constant(f"{name}.bias", self._tensors(f"{name}.bias"))

    def _pool(self, hidden: str) -> None:
        graph = self._graph
        weights = graph.add("Cast", ["attention_mask"], "weights", to=TensorProto.FLOAT)
        axis = graph.constant("axis", np.array([1], np.int64))
        row = graph.add("Unsqueeze", [weights, axis], "weights.row")
        total = graph.add("Squeeze", [graph.add("MatMul", [row, hidden], "sum.row"), axis], "sum")
        # The mean's divisor cancels out in the normalisation: the sum is enough.
        length = graph.add("ReduceL2", [total], "norm", axes=[1], keepdims=1)
        floor = graph.constant("length.floor", np.array([1e-12], np.float32))
        graph.add("Div", [total, graph.add("Max", [length, floor], "divisor")], OUTPUT)
