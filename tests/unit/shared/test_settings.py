"""Settings: read, explained, refused."""

from pathlib import Path

import pytest

from tmws_shared.settings import ConfigurationError, Settings

SECRET = "kR7wq0Xn2vLz9TbYfGm4sPjD8cHaUeZ1xQoW"


def problems(**environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment({"TMWS_SECRET_KEY": SECRET, **environ})
    return caught.value.problems


def test_defaults_need_only_a_secret() -> None:
    settings = Settings.from_environment({"TMWS_SECRET_KEY": SECRET})
    assert (settings.environment, settings.auth_enabled) == ("development", False)


def test_secret_can_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    settings = Settings.from_environment({"TMWS_SECRET_KEY_FILE": str(file)})
    assert settings.secret_key.get_secret_value() == SECRET


def test_file_wins_over_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    settings = Settings.from_environment({"TMWS_SECRET_KEY": "x" * 40, "TMWS_SECRET_KEY_FILE": str(file)})
    assert settings.secret_key.get_secret_value() == SECRET


def test_unreadable_file_is_named() -> None:
    assert problems(TMWS_SECRET_KEY_FILE="/nowhere/secret")[0].startswith("TMWS_SECRET_KEY_FILE cannot be read")


def test_unknown_name_suggests_the_nearest() -> None:
    assert problems(TMWS_AUTH_ENABLE="true") == [
        "TMWS_AUTH_ENABLE is not a setting of TMWS; did you mean TMWS_AUTH_ENABLED?"
    ]


def test_other_programs_variables_are_no_concern() -> None:
    assert Settings.from_environment({"TMWS_SECRET_KEY": SECRET, "PATH": "/bin", "TMPDIR": "/tmp"})


def test_wrong_value_names_the_variable() -> None:
    assert problems(TMWS_LOG_LEVEL="loud")[0].startswith("TMWS_LOG_LEVEL:")


def test_every_problem_is_told_at_once() -> None:
    told = problems(TMWS_LOG_LEVEL="loud", TMWS_AUTH_ENABLED="perhaps", TMWS_AUTH="1")
    assert len(told) == 3


def test_settings_are_frozen() -> None:
    settings = Settings.from_environment({"TMWS_SECRET_KEY": SECRET})
    with pytest.raises(ValueError, match="frozen"):
        settings.environment = "production"  # pyright: ignore[reportAttributeAccessIssue]


def test_secret_is_not_shown() -> None:
    assert SECRET not in repr(Settings.from_environment({"TMWS_SECRET_KEY": SECRET}))


def test_secret_shorter_than_32_bytes_is_refused_everywhere() -> None:
    assert problems(TMWS_SECRET_KEY="short") == ["TMWS_SECRET_KEY must have at least 32 bytes"]


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_production_refuses_to_run_without_auth(environment: str) -> None:
    assert problems(TMWS_ENVIRONMENT=environment) == [f"TMWS_AUTH_ENABLED must be true in {environment}"]


@pytest.mark.parametrize("secret", ["a" * 40, "changeme-changeme-changeme-changeme!", "your-secret-key-" * 3])
def test_production_refuses_a_guessable_secret(secret: str) -> None:
    told = problems(TMWS_ENVIRONMENT="production", TMWS_AUTH_ENABLED="true", TMWS_SECRET_KEY=secret)
    assert told[0].startswith("TMWS_SECRET_KEY is a placeholder or easy to guess")


@pytest.mark.parametrize(
    ("url", "count"),
    [
        ("postgresql://u:kx81nQ@db.internal/tmws?sslmode=verify-full", 0),
        ("postgresql://u:kx81nQ@localhost/tmws", 0),
        ("postgresql://u:kx81nQ@/tmws?host=/run/postgresql", 0),
        ("postgresql://u:postgres@localhost/tmws", 1),
        ("postgresql://u:kx81nQ@db.internal/tmws", 1),
        ("postgresql://u@db.internal/tmws?sslmode=prefer", 2),
    ],
)
def test_production_looks_at_the_database_url(url: str, count: int) -> None:
    environ = {"TMWS_ENVIRONMENT": "production", "TMWS_AUTH_ENABLED": "true", "TMWS_DATABASE_URL": url}
    assert len(problems(**environ, TMWS_LOG_LEVEL="info", TMWS_REDIS_URL="redis://far/0")) == count + 1


def test_production_wants_a_password_for_remote_redis() -> None:
    environ = {"TMWS_ENVIRONMENT": "production", "TMWS_AUTH_ENABLED": "true"}
    assert problems(**environ, TMWS_REDIS_URL="redis://cache/0") == [
        "TMWS_REDIS_URL reaches a remote host without a password"
    ]
