"""Files are cut into records alike, however their bytes come."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmws_memory.bulk.splitting import MAX_RECORD_BYTES, DocumentSplitter, LineSplitter, Record, splitter_for

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.sampled_from(['"', "\\", "[{", "}]", "é日"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
ELEMENTS = st.lists(VALUES, max_size=5)


def cut(data: bytes, size: int) -> tuple[list[Record], bool | None]:
    splitter = splitter_for(data[:4096])
    records: list[Record] = []
    for start in range(0, len(data), size):
        records += splitter.feed(data[start : start + size])
    records += splitter.end()
    return records, splitter.is_whole


def values(records: list[Record]) -> list[Any]:
    return [json.loads(record.raw or b"") for record in records]


@given(ELEMENTS, st.integers(1, 9), st.sampled_from([None, 1]), st.booleans())
def test_elements_of_a_list_are_found_in_pieces_of_any_size(
    elements: list[Any], size: int, indent: int | None, ascii_only: bool
) -> None:
    records, is_whole = cut(json.dumps(elements, indent=indent, ensure_ascii=ascii_only).encode(), size)

    assert values(records) == elements
    assert is_whole


@given(ELEMENTS, VALUES, ELEMENTS, st.integers(1, 9))
def test_lists_of_records_are_found_among_other_members(
    first: list[Any], other: Any, second: list[Any], size: int
) -> None:
    document = {"export_metadata": other, "memories": first, "other": [{"memories": [1]}], "results": second}

    records, is_whole = cut(json.dumps(document).encode(), size)

    assert values(records) == first + second
    assert [record.name for record in records] == ["memories"] * len(first) + ["results"] * len(second)
    assert is_whole


@given(st.binary(max_size=60), st.integers(1, 9))
def test_any_bytes_are_cut_without_an_error(data: bytes, size: int) -> None:
    cut(data, size)


@given(st.binary(max_size=60), st.integers(1, 9))
def test_any_bytes_after_a_bracket_are_cut_alike_in_any_pieces(data: bytes, size: int) -> None:
    assert cut(b"[" + data, size) == cut(b"[" + data, 10_000)


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_lines_end_at_line_feeds_and_blank_ones_are_none(size: int) -> None:
    records, is_whole = cut(b'{"a": 1}\r\n\n  \n{"b":\n2}', size)

    assert [(record.line, record.raw) for record in records] == [(1, b'{"a": 1}\r'), (4, b'{"b":'), (5, b"2}")]
    assert is_whole is None


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_elements_know_their_line_and_place(size: int) -> None:
    records, _ = cut(b'{"memories":\n[1,\n\n{"a":\n2} ], "results": [3]}', size)

    assert [(record.line, record.place) for record in records] == [
        (2, "/memories/0"),
        (4, "/memories/1"),
        (5, "/results/0"),
    ]


def test_too_long_an_element_is_passed_over() -> None:
    records, is_whole = cut(b'[1, "' + b"x" * (MAX_RECORD_BYTES + 1) + b'", 2]', 65_536)

    assert [record.raw for record in records] == [b"1", None, b"2"]
    assert is_whole


@pytest.mark.parametrize("data", [b'[1, {"a": ', b"[1", b'{"memories": [1', b"[1] 2", b"["])
def test_document_that_does_not_end_where_it_should_is_not_whole(data: bytes) -> None:
    assert cut(data, 1000)[1] is False


@pytest.mark.parametrize(
    ("beginning", "kind"),
    [
        (b'{"content": "x"}\n', LineSplitter),
        (b'{"type":"entity","name":"x"}\n', LineSplitter),
        (b'{"metadata": {}, "content": "x"}\n', LineSplitter),
        (b"nonsense", LineSplitter),
        (b'{"memories": [', DocumentSplitter),
        (b'{"export_metadata": {', DocumentSplitter),
        (b'{\n  "anything": 1,', DocumentSplitter),
        (b" \n [", DocumentSplitter),
    ],
)
def test_kind_of_file_is_seen_by_its_beginning(beginning: bytes, kind: type) -> None:
    assert type(splitter_for(beginning)) is kind
