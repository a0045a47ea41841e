"""What can be stored as text and JSON."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tmws_contracts.common import Line, Metadata, UtcTime

METADATA = TypeAdapter(Metadata)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | FLOATS | TEXT
FLAT = st.lists(SCALARS, max_size=3) | st.dictionaries(TEXT, SCALARS, max_size=3)


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@given(st.dictionaries(TEXT, SCALARS | FLAT, max_size=5))
def test_ordinary_json_is_taken_as_it_is(value: dict[str, Any]) -> None:
    assert METADATA.validate_python(value) == value


@pytest.mark.parametrize(
    "value",
    [
        {"a": "\0"}, {"\0": 1}, {"a": "\ud800"}, {"a": float("nan")}, {"a": float("inf")}, {"a": 2**63},
        {"a": [["\0"]]},
        {str(n): n for n in range(257)}, {"a": "x" * 65_536}, {"a": ["x" * 1000] * 66}, nested(9),
    ],
)  # fmt: skip
def test_json_that_cannot_be_kept_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        METADATA.validate_python(value)


def test_metadata_at_its_limits_is_taken() -> None:
    assert METADATA.validate_python({str(n): n for n in range(256)})
    assert METADATA.validate_python(nested(8))
    assert METADATA.validate_python({"a": "x" * 65_000})


@pytest.mark.parametrize("value", ["", " ", "\t\n", "a\0", "x" * 256])
def test_line_is_refused(value: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Line).validate_python(value)


def test_time_is_turned_into_utc() -> None:
    moment = TypeAdapter(UtcTime).validate_python("2026-01-01T09:00:00+09:00")
    assert moment.isoformat() == "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+23:00"])
def test_time_that_cannot_be_stored_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(UtcTime).validate_python(text)
