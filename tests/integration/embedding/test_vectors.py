"""What the real model makes of texts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tmws_embedding import model
from tmws_embedding.artifacts import prepare_model
from tmws_embedding.model import Embedder

NOTES = [
    "The deployment failed because the database password had expired.",
    "Athena prefers tabs over spaces in Go code.",
    "The customer asked for an invoice in Swiss francs.",
    "Unit tests for the parser take nine seconds.",
    "Our office plant needs water every Monday.",
]
ODD_TEXTS = {
    "64 KiB": "agents remember things " * 2850,
    "64 KiB without a space": "a" * 65_536,
    "emoji only": "😀🚀👩‍👩‍👧‍👦🏳️‍🌈",
    "right to left": "قاعدة البيانات لا تستجيب منذ الصباح",
    "Japanese": "データベースのパスワードが期限切れです",
    "blank": " \t\n ",
    "NUL and controls": "a\x00b\x07\x1b[31m",
    "bidi and tags": "safe\u202etxt.exe\U000e0041",
    "combining marks": "e" + "\u0301" * 500,
}


def nearest(embedder: Embedder, question: str) -> str:
    notes, query = embedder.embed(NOTES).vectors, embedder.embed([question]).vectors[0]
    return NOTES[int(np.argmax(notes @ query))]


@pytest.mark.parametrize(
    ("question", "note"),
    [
        ("Why did the release break?", NOTES[0]),
        ("Which indentation does she like?", NOTES[1]),
        ("billing currency", NOTES[2]),
        ("How long does the test suite run?", NOTES[3]),
        ("gardening reminder", NOTES[4]),
    ],
)
def test_question_finds_the_note_that_answers_it(embedder: Embedder, question: str, note: str) -> None:
    assert nearest(embedder, question) == note


def test_fp32_vector_is_the_one_of_the_original_model(exact_embedder: Embedder) -> None:
    # As sentence-transformers gives it, and a plain float64 forward pass in numpy.
    published = [6.76568747e-02, 6.34959713e-02, 4.87131327e-02, 7.93049634e-02, 3.74480709e-02, 2.65275943e-03]

    vector = exact_embedder.embed(["This is an example sentence"]).vectors[0]

    assert vector[:6].tolist() == pytest.approx(published, abs=5e-7)


@pytest.mark.parametrize("text", [*NOTES, *ODD_TEXTS.values()], ids=[*map(str, range(len(NOTES))), *ODD_TEXTS])
def test_int8_stays_close_to_fp32(embedder: Embedder, exact_embedder: Embedder, text: str) -> None:
    similarity = embedder.embed([text]).vectors @ exact_embedder.embed([text]).vectors.T

    assert similarity > 0.98


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS.keys())
def test_any_text_has_a_finite_vector_of_length_one(embedder: Embedder, text: str) -> None:
    vector = embedder.embed([text]).vectors[0]

    assert vector.shape == (384,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_vector_does_not_depend_on_its_companions(precision: str, embedder: Embedder, exact_embedder: Embedder) -> None:
    model = {"int8": embedder, "fp32": exact_embedder}[precision]
    same_length = [f"note {word} is here" for word in ("one", "two", "red", "dog", "sun", "ten", "old", "new")]
    alone = [model.embed([text]).vectors[0].tobytes() for text in same_length]

    together = model.embed([*same_length, ODD_TEXTS["64 KiB"], "x"]).vectors[: len(same_length)]

    assert model.batches([5] * len(same_length)) == [list(range(len(same_length)))]
    assert [vector.tobytes() for vector in together] == alone


def test_model_of_a_folder_runs_one_text_at_a_time(own_model: Path, tmp_path: Path) -> None:
    own = Embedder(prepare_model(str(own_model), "int8", tmp_path))

    assert own.batches([5, 5, 5]) == [[0], [1], [2]]


def test_vector_does_not_depend_on_what_runs_at_the_same_time(embedder: Embedder) -> None:
    alone = embedder.embed([NOTES[0]]).vectors[0].tobytes()

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(embedder.embed, [[note] for note in NOTES * 8]))

    assert {embedded.vectors[0].tobytes() for embedded in together[:: len(NOTES)]} == {alone}


def test_words_after_the_128th_token_still_count(embedder: Embedder) -> None:
    start = "word " * 140

    vectors = embedder.embed([start + "database", start + "garden"]).vectors

    assert vectors[0].tobytes() != vectors[1].tobytes()


def test_words_after_the_256th_token_do_not_count(embedder: Embedder) -> None:
    start = "word " * 254

    vectors = embedder.embed([start + "database", start + "garden"]).vectors

    assert vectors[0].tobytes() == vectors[1].tobytes()


def test_tokens_are_counted_with_both_ends_and_without_what_is_cut(embedder: Embedder) -> None:
    assert embedder.embed(["word"]).tokens == 3
    assert embedder.embed(["word " * 1000]).tokens == 256


def test_processor_without_vnni_gives_the_same_vectors(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "cpu_features", frozenset)
    without_vnni = Embedder(embedder.artifact)

    assert without_vnni.embed(NOTES).vectors.tobytes() == embedder.embed(NOTES).vectors.tobytes()
