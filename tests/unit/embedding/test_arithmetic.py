"""How values become 8-bit codes."""

from __future__ import annotations

import numpy as np
import pytest

from tmws_embedding.arithmetic import (
    TYPICAL_RANK,
    WIDE_CHANNELS,
    Quantized,
    Range,
    activation_scale,
    quantize_weights,
    smoothing_factors,
)
from tmws_embedding.onnx_graph import Graph

CHANNELS = 64


def channels_reaching(**outliers: float) -> Range:
    high = np.full(CHANNELS, 4, np.float32)
    for channel, value in outliers.items():
        high[int(channel.removeprefix("c"))] = value
    return Range(-high, high)


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


def test_channel_that_stands_out_is_scaled_down_to_the_others() -> None:
    factors = smoothing_factors(channels_reaching(c7=40))

    assert factors[7] == 10
    assert np.delete(factors, 7).tolist() == [1] * (CHANNELS - 1)


def test_channels_of_similar_reach_are_left_alone() -> None:
    assert smoothing_factors(channels_reaching(c7=11)).tolist() == [1] * CHANNELS


def test_channels_that_are_always_zero_are_left_alone() -> None:
    nothing = np.zeros(TYPICAL_RANK, np.float32)

    assert smoothing_factors(Range(nothing, nothing)).tolist() == [1] * TYPICAL_RANK


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (-0.17, 25.0), (0.0, 5.0), (-2.0, -1.0), (1.0, 2.0)])
def test_codes_cover_the_range_and_zero_with_headroom(low: float, high: float) -> None:
    scale, zero = activation_scale(np.array([low], np.float32), np.array([high], np.float32))

    assert -zero * scale <= min(low, 0)
    assert (255 - zero) * scale >= max(high, 0)


def test_scale_does_not_depend_on_the_last_bits_of_a_range() -> None:
    high = np.array([3.0], np.float32)

    assert activation_scale(-high, np.nextafter(high, 4)) == activation_scale(-high, high)


def test_widest_channels_are_multiplied_apart_and_none_is_lost() -> None:
    limits = channels_reaching(c3=25, c50=30)

    most, widest = Quantized(Graph(), {"site": limits}).groups("site", CHANNELS)

    assert len(widest) == WIDE_CHANNELS
    assert {3, 50} <= set(widest.tolist())
    assert sorted([*most.tolist(), *widest.tolist()]) == list(range(CHANNELS))
