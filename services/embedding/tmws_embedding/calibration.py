"""What range the activations of a model have, measured on texts of many kinds."""

# onnxruntime ships no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from tmws_embedding.arithmetic import Floats, Range
from tmws_embedding.graph import INPUT
from tmws_embedding.model import open_session
from tmws_embedding.onnx_graph import Graph

TEXTS_FILE = Path(__file__).with_name("calibration.txt")


def calibration_texts() -> list[str]:
    """Return prose, code, tables, numbers, short answers, emoji, and other scripts, one text a line."""
    return TEXTS_FILE.read_text(encoding="utf-8").splitlines()


def measure_ranges(graph: Graph, sites: Mapping[str, str], texts: Sequence[Sequence[int]]) -> dict[str, Range]:
    """Run tokenised texts through the fp32 model and return what the channels at each site reach.

    `graph` gets an output for each site.
    """
    values = list(dict.fromkeys(sites.values()))
    for value in values:
        graph.declare_output(value, "batch", "tokens", "channels")
    session = open_session(graph.model.SerializeToString())
    observed: dict[str, Range] = {}
    for tokens in texts:
        outputs = session.run(values, {INPUT: np.array([tokens], np.int64)})
        for value, output in zip(values, cast("list[Floats]", outputs), strict=True):
            observed[value] = _widened(observed.get(value), output[0])
    return {site: observed[value] for site, value in sites.items()}


def _widened(known: Range | None, rows: Floats) -> Range:
    low, high = rows.min(axis=0), rows.max(axis=0)
    return Range(low, high) if known is None else Range(np.minimum(known.low, low), np.maximum(known.high, high))
