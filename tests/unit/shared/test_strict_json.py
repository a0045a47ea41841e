"""Strict JSON: read alike by every reader, or refused by name."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmws_shared.problems import InvalidRequest, MalformedRequest, ProblemError
from tmws_shared.strict_json import read_json

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
SCALARS = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))
JSON_LIKE = st.text('{}[]",:\\u0dD8NaN1eE+-. tf', max_size=24)


def refusal(raw: bytes) -> tuple[type[ProblemError], str]:
    with pytest.raises(ProblemError) as caught:
        read_json(raw)
    return type(caught.value), caught.value.errors[0].pointer


def reads(raw: bytes) -> bool:
    try:
        read_json(raw)
    except ProblemError:
        return False
    return True


@given(VALUES, st.booleans())
def test_what_json_writes_is_read_back(value: Any, ascii_only: bool) -> None:
    assert read_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=32) | JSON_LIKE.map(str.encode))
def test_any_bytes_are_read_or_refused_by_a_problem(raw: bytes) -> None:
    assert reads(raw) in (True, False)


@given(JSON_LIKE.map(str.encode))
def test_what_is_read_is_what_the_json_module_reads(raw: bytes) -> None:
    assert not reads(raw) or read_json(raw) == json.loads(raw)


@given(JSON_LIKE.map(str.encode))
def test_what_is_read_has_no_surprises(raw: bytes) -> None:
    assert not reads(raw) or json.dumps(read_json(raw), allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize("literal", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1E400"])
def test_number_that_is_not_finite_is_an_invalid_value(literal: bytes) -> None:
    assert refusal(b'{"a": [1, ' + literal + b"]}") == (InvalidRequest, "/a/1")


@pytest.mark.parametrize("digits", [b"9" * 5000, b"9223372036854775808", b"-9223372036854775809"])
def test_integer_over_64_bits_is_malformed(digits: bytes) -> None:
    assert refusal(b'{"a": ' + digits + b"}") == (MalformedRequest, "/a")


def test_key_given_twice_is_malformed() -> None:
    assert refusal(b'{"a": {"b": 1, "c": 2, "b": 3}}') == (MalformedRequest, "/a/b")


def test_key_given_twice_by_way_of_an_escape_is_malformed() -> None:
    assert refusal(b'{"a": 1, "\\u0061": 2}') == (MalformedRequest, "/a")


def test_nul_in_text_is_an_invalid_value() -> None:
    assert refusal(b'{"a~/b": ["x", "\\u0000"]}') == (InvalidRequest, "/a~0~1b/1")


def test_nul_in_a_key_is_told_of_the_object_around_it() -> None:
    assert refusal(b'{"a": {"\\u0000": 1}}') == (InvalidRequest, "/a")


@pytest.mark.parametrize("escape", [b"\\ud800", b"\\uDFFF", b"\\ud800x", b"\\udc00\\ud800"])
def test_lone_surrogate_is_an_invalid_value(escape: bytes) -> None:
    assert refusal(b'["' + escape + b'"]') == (InvalidRequest, "/0")


def test_pair_of_surrogates_is_a_character() -> None:
    assert read_json(b'"\\ud83d\\ude00"') == "\U0001f600"


def test_escaped_backslash_before_u0000_is_text() -> None:
    assert read_json(b'"\\\\u0000"') == "\\u0000"


def test_depth_of_32_is_read() -> None:
    assert read_json(b"[" * 32 + b"]" * 32)


@pytest.mark.parametrize("depth", [33, 2_000, 200_000])
def test_depth_over_32_is_malformed(depth: int) -> None:
    assert refusal(b"[" * depth + b"]" * depth) == (MalformedRequest, "/0" * 32)


def test_depth_names_where_it_goes_too_deep() -> None:
    raw = b'{"a": [], "b": {"c": ' + b"[" * 40 + b"]" * 40 + b"}}"
    assert refusal(raw) == (MalformedRequest, "/b/c" + "/0" * 30)


def test_brackets_in_text_have_no_depth() -> None:
    assert read_json(b'"' + b"[{" * 100 + b'\\""') == "[{" * 100 + '"'


@pytest.mark.parametrize(
    "raw",
    [
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"",
        b"{",
        b"{'a': 1}",
        b"[1,]",
        b"01",
        b'"\t"',
    ],
    ids=["bom", "utf-16", "bad utf-8", "utf-8 surrogate", "empty", "open", "quotes", "comma", "octal", "control"],
)
def test_what_is_not_utf8_json_is_malformed(raw: bytes) -> None:
    assert refusal(raw) == (MalformedRequest, "")


def test_pointer_does_not_repeat_a_huge_key() -> None:
    _, pointer = refusal(b'{"a": {"' + b"k" * 100_000 + b'": NaN}}')
    assert pointer == "/a"


def test_string_full_of_quotes_takes_linear_time() -> None:
    assert refusal(b"[" * 40 + b'"' + b'\\"' * 500_000)[0] is MalformedRequest


def test_value_at_the_edge_of_64_bits_is_read() -> None:
    assert read_json(b"[9223372036854775807, -9223372036854775808]") == [2**63 - 1, -(2**63)]


def test_tiny_number_is_zero() -> None:
    assert math.isclose(read_json(b"1e-999"), 0.0)
