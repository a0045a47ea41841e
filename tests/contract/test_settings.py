"""The list of known names and the page about settings are what the code says."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_settings", ROOT / "docs/generate_settings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_known_names_are_those_of_all_settings(generator: ModuleType) -> None:
    assert generator.NAMES_FILE.read_text().split() == generator.names()


def test_page_about_settings_is_up_to_date(generator: ModuleType) -> None:
    assert generator.DOCUMENT.read_text() == generator.document()


def test_every_setting_has_a_description(generator: ModuleType) -> None:
    classes = [cls for group in generator.settings_classes().values() for cls in group]
    fields = [(cls.__name__, name, field) for cls in classes for name, field in cls.model_fields.items()]
    missing = [f"{cls}.{name}" for cls, name, field in fields if not field.description]
    assert missing == []


def test_names_of_the_first_interface_are_known(generator: ModuleType) -> None:
    promised = {
        "TMWS_API_HOST",
        "TMWS_API_PORT",
        "TMWS_AUTH_ENABLED",
        "TMWS_DATABASE_URL",
        "TMWS_EMBEDDING_MODEL",
        "TMWS_ENVIRONMENT",
        "TMWS_RATE_LIMIT_PERIOD",
        "TMWS_RATE_LIMIT_REQUESTS",
        "TMWS_REDIS_URL",
        "TMWS_SECRET_KEY",
        "TMWS_VECTOR_DIMENSION",
    }
    assert promised <= set(generator.names())
