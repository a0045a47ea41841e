"""How the graph multiplies: in fp32 as the checkpoint says, or in int8 with ranges measured once.

The ranges of activations are constants of the int8 model (static quantisation), so a vector depends on its text
alone and texts may share a run. Two kinds of outliers would cost most of the eight bits:
- a few channels of the residual stream reach 30 where others reach 4: their part of the operand is scaled down
  and their rows of the weights scaled up (SmoothQuant, Xiao et al. 2022);
- one or two of the 1,536 channels after GELU reach 25 where others reach 5: the widest 16 are multiplied apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tmws_embedding.onnx_graph import Graph

Floats = NDArray[np.float32]
Columns = NDArray[np.intp]

INT8_MAX = 127
UINT8_MAX = 255
# What calibration has not seen may be a little larger.
HEADROOM = 1.1
WIDE_CHANNELS = 16
# The channel whose range the ones beyond are scaled down to, and how far beyond they must be to be worth a node.
TYPICAL_RANK = 24
OUTLIER_RATIO = 3.0


class Range(NamedTuple):
    """The least and largest value of each channel, float32 [channels]."""

    low: Floats
    high: Floats

    def of(self, columns: Columns) -> Range:
        """Return the range of some channels."""
        return Range(self.low[columns], self.high[columns])


class Operand(NamedTuple):
    """The left side of products: the values' name; in int8 also their scale and zero point.

    The weights' rows have to be multiplied by `rows`, float32 [channels, 1].
    """

    values: str
    scale: str
    zero: str
    rows: Floats


class Arithmetic(Protocol):
    """Products with weights. A site is a place in the network whose values are multiplied."""

    def groups(self, site: str, channels: int) -> list[Columns]:
        """Return which channels of a site are multiplied together."""
        ...

    def operand(self, values: str, site: str, columns: Columns | None = None) -> Operand:
        """Return a value of the graph, some channels of a site or all of them, ready to be multiplied."""
        ...

    def multiply(self, operand: Operand, weights: Floats, bias: Floats, name: str) -> str:
        """Return the name of operand x weights [in, out] + bias [out]."""
        ...


class Exact:
    """Products in fp32; `sites` tells which value of the graph is at which site."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.sites: dict[str, str] = {}

    def groups(self, site: str, channels: int) -> list[Columns]:
        """Return all channels as one group."""
        return [np.arange(channels)]

    def operand(self, values: str, site: str, columns: Columns | None = None) -> Operand:
        """Return the value as it is."""
        self.sites[site] = values
        return Operand(values, "", "", np.ones((1, 1), np.float32))

    def multiply(self, operand: Operand, weights: Floats, bias: Floats, name: str) -> str:
        """Return the name of the product."""
        product = self._graph.add("MatMul", [operand.values, self._graph.constant(f"{name}.weight", weights)], name)
        return self._graph.add("Add", [product, self._graph.constant(f"{name}.bias", bias)], f"{name}.biased")


class Quantized:
    """Products of uint8 activations with int8 weights; `ranges` are those of each site's channels."""

    def __init__(self, graph: Graph, ranges: Mapping[str, Range]) -> None:
        self._graph = graph
        self._ranges = ranges

    def groups(self, site: str, channels: int) -> list[Columns]:
        """Return the channels with the widest ranges apart from the others."""
        widest_first = np.argsort(-self._ranges[site].high, kind="stable")
        return [np.sort(widest_first[WIDE_CHANNELS:]), np.sort(widest_first[:WIDE_CHANNELS])]

    def operand(self, values: str, site: str, columns: Columns | None = None) -> Operand:
        """Return the value quantised to uint8 with a constant scale."""
        limits = self._ranges[site] if columns is None else self._ranges[site].of(columns)
        factors = smoothing_factors(limits) if columns is None else np.ones_like(limits.high)
        if factors.max() > 1:
            shrink = self._graph.constant(f"{values}.shrink", 1 / factors)
            values = self._graph.add("Mul", [values, shrink], f"{values}.smooth")
        scale, zero = activation_scale(limits.low / factors, limits.high / factors)
        scale_name, zero_name = (
            self._graph.constant(f"{values}.scale", np.array(scale, np.float32)),
            self._graph.constant(f"{values}.zero", np.array(zero, np.uint8)),
        )
        quantized = self._graph.add("QuantizeLinear", [values, scale_name, zero_name], f"{values}.uint8")
        return Operand(quantized, scale_name, zero_name, factors[:, None])

    def multiply(self, operand: Operand, weights: Floats, bias: Floats, name: str) -> str:
        """Return the name of the product, float32 again."""
        values, scales = quantize_weights(weights * operand.rows)
        inputs = [
            operand.values,
            self._graph.constant(f"{name}.int8", values),
            operand.scale,
            self._graph.constant(f"{name}.scales", scales),
            operand.zero,
            "",
            self._graph.constant(f"{name}.bias", bias),
        ]
        return self._graph.add_fused("MatMulIntegerToFloat", inputs, name)


def quantize_weights(weights: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Quantise a [in, out] matrix symmetrically to int8 with one scale per output column.

    The whole range of -127…127 is used; what that overflows on processors without VNNI is avoided
    when the model is loaded (`model.py`), not by giving up a bit of every weight everywhere.
    """
    largest = np.maximum(np.abs(weights).max(axis=0), np.finfo(np.float32).tiny)
    scales = (largest / INT8_MAX).astype(np.float32)
    values = np.clip(np.rint(weights / scales), -INT8_MAX, INT8_MAX)
    return values.astype(np.int8), scales


def smoothing_factors(limits: Range) -> Floats:
    """Return what each channel is to be divided by, float32 [channels]: 1 for all where none stands out."""
    reach = np.maximum(np.abs(limits.low), np.abs(limits.high))
    typical = np.sort(reach)[-min(TYPICAL_RANK, len(reach))]
    if typical <= 0 or reach.max() < OUTLIER_RATIO * typical:
        return np.ones_like(reach)
    return np.maximum(reach / typical, 1).astype(np.float32)


def activation_scale(low: Floats, high: Floats) -> tuple[float, int]:
    """Return the step and the code of zero of values between the least `low` and the largest `high`.

    Three digits: another processor's last bits must not make another model.
    """
    least, largest = min(float(low.min()), 0.0) * HEADROOM, max(float(high.max()), 0.0) * HEADROOM
    scale = float(f"{max(largest - least, 1e-6) / UINT8_MAX:.3g}")
    return scale, int(np.clip(round(-least / scale), 0, UINT8_MAX))
