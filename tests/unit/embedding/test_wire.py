"""What `POST /embed` takes."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tmws_contracts.embedding import MAX_TEXT_BYTES, MAX_TEXTS, EmbeddingRequest


@pytest.mark.parametrize(
    "texts",
    [
        ["a"],
        ["a"] * MAX_TEXTS,
        ["a" * MAX_TEXT_BYTES],
        ["é" * (MAX_TEXT_BYTES // 2)],
        [" "],
        ["nul \x00 inside"],
        ["😀"],
    ],
    ids=["one", "256", "64 KiB", "64 KiB of UTF-8", "blank", "NUL", "emoji"],
)
def test_texts_within_the_limits_are_taken(texts: list[str]) -> None:
    assert EmbeddingRequest(texts=texts).texts == texts


@pytest.mark.parametrize(
    ("texts", "place"),
    [
        ([], ("texts",)),
        (["a"] * (MAX_TEXTS + 1), ("texts",)),
        (["a", ""], ("texts", 1)),
        (["a" * (MAX_TEXT_BYTES + 1)], ("texts", 0)),
        (["é" * (MAX_TEXT_BYTES // 2 + 1)], ("texts", 0)),
        (["lone \ud800 surrogate"], ("texts", 0)),
        (["a", 7], ("texts", 1)),
        (["a", None], ("texts", 1)),
        ("a", ("texts",)),
    ],
)
def test_texts_outside_the_limits_are_refused_where_they_are(texts: object, place: tuple[object, ...]) -> None:
    with pytest.raises(ValidationError) as refused:
        EmbeddingRequest.model_validate({"texts": texts})

    assert [error["loc"] for error in refused.value.errors()] == [place]


@pytest.mark.parametrize("field", ["model", "precision"])
@pytest.mark.parametrize("value", ["", "x" * 257, 7])
def test_name_of_a_model_is_a_short_text(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as refused:
        EmbeddingRequest.model_validate({"texts": ["a"], field: value})

    assert [error["loc"] for error in refused.value.errors()] == [(field,)]
