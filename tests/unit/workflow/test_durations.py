"""Durations as people write them."""

import pytest

from tmws_workflow.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("5s", 5), ("1h30m", 5400), ("2d", 172800), ("0.5s", 0.5), ("1m1s1ms", 61.001)],
)
def test_duration_is_read(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "s", "5 s", "-1s", "1w", "1e3s", "٣s", "5s ", "5s\n", "1s" * 6, "9" * 400 + "s"]
)
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration(text)
