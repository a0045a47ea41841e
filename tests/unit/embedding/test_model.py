"""What is decided about a model before and after it runs."""

from __future__ import annotations

import numpy as np
import pytest

from tmws_embedding.graph import quantize_weights
from tmws_embedding.model import needs_wide_products, normalise, pick_output


@pytest.mark.parametrize(
    ("machine", "features", "is_needed"),
    [
        ("x86_64", {"avx2"}, True),
        ("AMD64", {"avx2", "avx512f"}, True),
        ("x86_64", set[str](), True),
        ("x86_64", {"avx512_vnni"}, False),
        ("x86_64", {"avx_vnni"}, False),
        ("aarch64", set[str](), False),
    ],
)
def test_products_are_widened_only_on_x86_without_vnni(machine: str, features: set[str], is_needed: bool) -> None:
    assert needs_wide_products(machine, frozenset(features)) is is_needed


def test_weights_come_back_within_half_a_step() -> None:
    weights = np.random.default_rng(7).normal(size=(64, 16)).astype(np.float32)

    values, scales = quantize_weights(weights)

    assert np.abs(values * scales - weights).max() <= scales.max() / 2 * 1.001


def test_each_output_column_uses_the_whole_range() -> None:
    weights = np.array([[1.0, 100.0], [-2.0, 25.0]], np.float32)

    values, _ = quantize_weights(weights)

    assert np.abs(values).max(axis=0).tolist() == [127, 127]


def test_column_of_zeros_stays_zero() -> None:
    values, scales = quantize_weights(np.zeros((4, 2), np.float32))

    assert not values.any()
    assert np.isfinite(scales).all()


def test_hidden_states_are_averaged_over_tokens_and_normalised() -> None:
    hidden = np.array([[[2.0, 0.0], [4.0, 8.0]]], np.float32)

    assert normalise(hidden).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]


def test_vector_of_zeros_stays_finite() -> None:
    assert normalise(np.zeros((1, 4), np.float32)).tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("outputs", "picked"),
    [
        (["last_hidden_state", "sentence_embedding"], "sentence_embedding"),
        (["last_hidden_state", "pooler_output"], "last_hidden_state"),
    ],
)
def test_pooled_output_is_preferred(outputs: list[str], picked: str) -> None:
    assert pick_output(outputs) == picked
