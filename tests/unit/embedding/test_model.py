"""What is decided about a model before and after it runs."""

from __future__ import annotations

import numpy as np
import pytest

from tmws_embedding.model import batches, needs_wide_products, normalise, pick_output


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


def test_texts_of_one_length_share_a_run_up_to_the_limit_longest_first() -> None:
    lengths = [3, 5, 3, 9, 3, 3, 40]

    shared = batches(lengths, 9)

    assert shared == [[6], [3], [1], [0, 2, 4], [5]]


def test_without_a_limit_to_share_every_text_runs_alone() -> None:
    assert batches([3, 3], 0) == [[0], [1]]


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
