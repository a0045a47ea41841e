"""What the environment may say."""

from __future__ import annotations

import pytest

from tmws_embedding.settings import EmbeddingSettings, cores_within
from tmws_shared.settings import ConfigurationError

ENVIRONMENT = {"TMWS_SECRET_KEY": "0123456789abcdef0123456789abcdef"}


def test_defaults_are_minilm_in_int8_with_384_dimensions() -> None:
    settings = EmbeddingSettings.from_environment(ENVIRONMENT)

    assert settings.embedding_model == "all-MiniLM-L6-v2"
    assert settings.embedding_precision == "int8"
    assert settings.vector_dimension == 384


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TMWS_EMBEDDING_PRECISION", "int4"),
        ("TMWS_VECTOR_DIMENSION", "0"),
        ("TMWS_VECTOR_DIMENSION", "many"),
        ("TMWS_EMBEDDING_THREADS", "0"),
        # A request of 256 texts must always fit an empty queue.
        ("TMWS_EMBEDDING_QUEUE_TEXTS", "255"),
        ("TMWS_EMBEDDING_CACHE_SECONDS", "-1"),
    ],
)
def test_wrong_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        EmbeddingSettings.from_environment({**ENVIRONMENT, name: value})

    assert [problem.startswith(name) for problem in refused.value.problems] == [True]


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("max 100000\n", 8), ("200000 100000\n", 2), ("150000 100000\n", 2), ("10000 100000\n", 1), ("garbage", 8)],
)
def test_container_limit_is_counted_in_whole_cores(limit: str, cores: int) -> None:
    assert cores_within(limit, 8) == cores


def test_container_limit_never_adds_cores() -> None:
    assert cores_within("1600000 100000", 4) == 4


def test_other_models_follow_the_current_one_each_once() -> None:
    also = "all-MiniLM-L6-v2:fp32, /models/own ,all-MiniLM-L6-v2:int8,/models/a:b,"

    settings = EmbeddingSettings.from_environment({**ENVIRONMENT, "TMWS_EMBEDDING_ALSO": also})

    assert settings.choices == [
        ("all-MiniLM-L6-v2", "int8"),
        ("all-MiniLM-L6-v2", "fp32"),
        ("/models/own", "int8"),
        ("/models/a:b", "int8"),
    ]


def test_without_others_only_the_current_model_is_served() -> None:
    assert EmbeddingSettings.from_environment(ENVIRONMENT).choices == [("all-MiniLM-L6-v2", "int8")]
